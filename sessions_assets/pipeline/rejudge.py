"""Judge landed days again from raw_events and raw_quarantine, under the settings of today; no file is needed.

`plan_rejudge` refuses what cannot be judged again, `compute` reads and judges the rows, `land.commit` writes them. Must
not know Dagster, the environment, batch files or ods_sessions.
Source of the rules: R22 (another lateness), R23 (raw is lossless), R25 (other names), R26 (another unit or zone).

A crash loses nothing. Before the first write the ledger notes the versions of the two tables that are judged; judging
the day again begins from these, though one of the tables may have been written.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake import raw
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake, LakeError, attribute_names
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.tables import RAW_EVENTS, RAW_QUARANTINE, Table
from sessions_assets.landing.batches import Delivery
from sessions_assets.landing.rows import (
    ATTRIBUTES_TYPE,
    columns_of_events,
    plain,
    plain_name,
    shown,
    value_named,
    with_values,
)
from sessions_assets.pipeline import land
from sessions_assets.pipeline.clock_changes import check_zone
from sessions_assets.pipeline.progress import LOGGER
from sessions_assets.pipeline.results import LandedDay
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, PARSE_ERRORS, typed
from sessions_assets.rule.input_format import OWN_FORMAT, InputFormat


@dataclass(frozen=True)
class RejudgePlan:
    """What is judged again, pinned to versions.

    Attributes:
        write: the days, as a landing of them.
        events: raw_events as it is read.
        quarantined: raw_quarantine as it is read.
        read_by: the names by which the rows were read when they landed.
    """

    write: land.LandPlan
    events: Snapshot
    quarantined: Snapshot
    read_by: InputFormat


def rejudge(
    spark: SparkSession,
    lake: Lake,
    days: Collection[date],
    lateness_days: int,
    input_format: InputFormat = OWN_FORMAT,
) -> dict[date, LandedDay]:
    """Judge the rows that raw_events and raw_quarantine hold of days again, and replace both partitions.

    A day that was judged under these settings, by this code, is left out.

    Args:
        spark: a session with Delta's extension.
        lake: whose days are judged.
        days: arrival days; none: all that are not closed.
        lateness_days: N.
        input_format: names, unit and zone. Fields were separated when a day landed, so its separator stays.

    Returns:
        The numbers of each day that was judged again.

    Raises:
        LakeError: a day has not landed, was landed by an edition that did not keep what is needed, or lacks a column.
        ClosedDayError: a named day is closed; nothing is changed then (R21).
    """
    judged: dict[date, LandedDay] = {}
    for plan in plan_rejudge(lake, days, lateness_days, input_format):
        judged |= land.commit(spark, lake, plan.write, compute(spark, plan))
    return judged


def plan_rejudge(
    lake: Lake, days: Collection[date], lateness_days: int, input_format: InputFormat
) -> list[RejudgePlan]:
    """Find what is to be judged again, one plan for the days that were read alike; nothing is written.

    Raises:
        LakeError: a day has not landed, was landed by an edition that did not keep what is needed, or lacks a column.
        ClosedDayError: a named day is closed (R21).
    """
    entries = lake.ledger.open_entries(days or None)
    for day in sorted(days):
        if day not in entries:
            raise LakeError(f"no batch of {day} was delivered: there is nothing to judge again")
    events, quarantined = lake.find(RAW_EVENTS), lake.find(RAW_QUARANTINE)
    alike: dict[tuple[int, int, str], dict[date, Entry]] = defaultdict(dict)
    for day, entry in entries.items():
        read_by = InputFormat.from_json(entry.input_format)
        if land.is_judged(entry, lateness_days, input_format.with_separator_of(read_by)):
            LOGGER.info("judged already: %s", day)
            continue
        if events is None or quarantined is None:
            raise LakeError(f"{lake.path(RAW_EVENTS)} does not exist: materialize raw_events first")
        alike[*_versions(entry, events, quarantined), read_by.as_json()][day] = entry
    plans = [
        RejudgePlan(
            land.LandPlan(
                unchanged={},
                fresh=_as_batches(found),
                known=found,
                lateness_days=lateness_days,
                input_format=input_format.with_separator_of(InputFormat.from_json(read_by)),
                raw_events=events,
                raw_quarantine=quarantined,
                judged_from=f"{first} {second}",
            ),
            lake.snapshot(RAW_EVENTS, first),
            lake.snapshot(RAW_QUARANTINE, second),
            InputFormat.from_json(read_by),
        )
        for (first, second, read_by), found in alike.items()
    ]
    for plan in plans:
        _check_rows(plan)
    return plans


def _check_rows(plan: RejudgePlan) -> None:
    """Refuse settings of the input by which the raw rows cannot be read as their files could.

    Raises:
        LakeError: no row has a column that is named, or the rows do not tell the time in another column or zone.
    """
    before, now = plan.read_by.names(IDENTITY_COLUMNS), plan.write.input_format.names(IDENTITY_COLUMNS)
    tables = [table for table in (plan.events, plan.quarantined) if "attributes" in table.columns()]
    if before != now:
        _check_names(plan, tables, before, now)
    is_other_column = plain_name(before["timestamp"]) != plain_name(now["timestamp"])
    is_other_zone = plan.read_by.time_zone != plan.write.input_format.time_zone
    for day, entry in plan.write.known.items():
        # An edition before kept no text of times without a zone.
        if is_other_column or (is_other_zone and entry.input_format is None):
            condition = f"{ARRIVAL_DAY} = DATE'{day}' AND source_file LIKE '%.parquet'"
            if any(table.query(f"SELECT 1 FROM stored WHERE {condition} LIMIT 1") for table in tables):  # noqa: S608
                raise LakeError(
                    f"{day} has times of Parquet, which under these settings can be read from its files only: "
                    "materialize raw_events of it again"
                )


def _check_names(
    plan: RejudgePlan, tables: Sequence[Snapshot], before: Mapping[str, str], now: Mapping[str, str]
) -> None:
    # The ledger does not know how many rows a day has whose landing has not ended.
    days = [day for day, entry in plan.write.known.items() if entry.rows_delivered or entry.landed_at is None]
    in_tables = [attribute_names(table, days) for table in tables]
    for day in days:
        found = sorted({*before.values(), *(name for names in in_tables for name in names[day])})
        missing = [name for name in now.values() if plain_name(name) not in map(plain_name, found)]
        if missing:
            raise LakeError(f"the rows of {day} lack column {', '.join(missing)}; found {shown(found)}")


def _as_batches(entries: Mapping[date, Entry]) -> dict[date, Delivery]:
    return {day: Delivery(day, e.source, (f"raw rows of {day}",), e.fingerprint) for day, e in entries.items()}


def _versions(entry: Entry, events: Snapshot, quarantined: Snapshot) -> tuple[int, int]:
    """Return the versions of raw_events and raw_quarantine that hold the rows of a day whole."""
    if entry.landed_at is None:
        if entry.judged_from is None:
            raise LakeError(
                f"the landing of {entry.day} was begun and has not ended: materialize raw_events of it again"
            )
        first, second = entry.judged_from.split()
        return int(first), int(second)
    if entry.attributes is None and entry.rows_quarantined:
        raise LakeError(
            f"{entry.day} was landed by an edition that kept only the text of refused rows: "
            "materialize raw_events of it again"
        )
    return events.version, quarantined.version


def compute(spark: SparkSession, plan: RejudgePlan) -> DataFrame:
    """Return the rows of a plan, typed and judged as `rule.events.typed` returns them; nothing is written."""
    days = sorted(plan.write.fresh)
    sources = {day: batch.source for day, batch in plan.write.fresh.items()}
    events = _whole(raw.read_days(spark, plan.events, days), RAW_EVENTS)
    no_error = F.lit(None).cast("string")
    accepted = _as_delivered(events.withColumn("raw_text", no_error), no_error, sources)
    # The text of a row whose file may be gone: its values as JSON.
    accepted = accepted.withColumn("raw_text", F.to_json(_delivered(plan.read_by)))
    refused = _whole(raw.read_days(spark, plan.quarantined, days), RAW_QUARANTINE)
    parse_error = F.when(F.col("reason").isin(*PARSE_ERRORS), F.col("reason"))
    rows = accepted.unionByName(_as_delivered(refused, parse_error, sources))
    input_format = plan.write.input_format
    check_zone(spark, input_format.time_zone)
    return typed(_renamed(rows, plan.read_by, input_format), plan.write.lateness_days, input_format)


def _whole(rows: DataFrame, table: Table) -> DataFrame:
    """Add the columns that a table of an earlier edition lacks."""
    missing = {c.name: F.lit(None).cast(c.sql_type) for c in table.columns if c.name not in rows.columns}
    return rows.withColumns(missing) if missing else rows


def _as_delivered(rows: DataFrame, parse_error: Column, sources: Mapping[date, str]) -> DataFrame:
    """Return stored rows as `landing.readers.read_rows` returns those of files."""
    source = F.create_map(*[F.lit(value) for pair in sources.items() for value in pair])[F.col(ARRIVAL_DAY)]
    has_text = F.col("timestamp_text").isNotNull()
    return rows.select(
        *[column for column in IDENTITY_COLUMNS if column != "timestamp"],
        F.col("timestamp_text").alias("timestamp"),
        F.when(~has_text, F.col("timestamp")).alias("event_time"),
        "attributes",
        parse_error.alias("parse_error"),
        "raw_text",
        F.coalesce("source_file", source).alias("source_file"),
        ARRIVAL_DAY,
    )


def _delivered(read_by: InputFormat) -> Column:
    """Return all columns of a row under the names of the delivery."""
    time = F.coalesce("timestamp", F.col("event_time").cast("string"))
    names = read_by.names(IDENTITY_COLUMNS)
    # By name: two columns of an event may come from one.
    values = {name: time if column == "timestamp" else F.col(column) for column, name in names.items()}
    pairs = [part for name, value in values.items() for part in (F.lit(name), value)]
    no_attributes = F.create_map().cast(ATTRIBUTES_TYPE)
    return F.map_concat(F.create_map(*pairs), F.coalesce("attributes", no_attributes))


def _renamed(rows: DataFrame, read_by: InputFormat, input_format: InputFormat) -> DataFrame:
    """Return rows as they would have been read under other names (R25)."""
    before, now = read_by.names(IDENTITY_COLUMNS), input_format.names(IDENTITY_COLUMNS)
    if (before, read_by.constants) == (now, input_format.constants):
        return rows
    rows = rows.withColumn("delivered", _delivered(read_by))
    delivered = F.col("delivered")
    columns = columns_of_events(input_format, lambda column: value_named(delivered, now[column]))
    if plain_name(before["timestamp"]) == plain_name(now["timestamp"]):
        columns["timestamp"] = F.col("timestamp")
    used = [plain_name(name) for name in now.values()]
    others = with_values(F.map_filter(delivered, lambda name, _: ~plain(name).isin(used)))
    return rows.withColumns({**columns, "attributes": others}).drop("delivered")
