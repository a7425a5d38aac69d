"""Judge landed days again from raw_events and raw_quarantine, under the settings of today; no file is needed.

`plan_rejudge` refuses what cannot be judged again, `compute` reads and judges the rows, `land.commit` writes them. Must
not know Dagster, the environment, batch files or ods_sessions.
Source of the rules: R22 (another lateness), R23 (raw is lossless).

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
from sessions_assets.lake.lake import Lake, LakeError
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.tables import RAW_EVENTS, RAW_QUARANTINE, Table
from sessions_assets.landing.batches import Delivery
from sessions_assets.pipeline import land
from sessions_assets.pipeline.progress import LOGGER
from sessions_assets.pipeline.results import LandedDay
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, PARSE_ERRORS, typed


@dataclass(frozen=True)
class RejudgePlan:
    """What is judged again, pinned to versions.

    Attributes:
        write: the days, as a landing of them.
        events: raw_events as it is read.
        quarantined: raw_quarantine as it is read.
    """

    write: land.LandPlan
    events: Snapshot
    quarantined: Snapshot


def rejudge(spark: SparkSession, lake: Lake, days: Collection[date], lateness_days: int) -> dict[date, LandedDay]:
    """Judge the rows that raw_events and raw_quarantine hold of days again, and replace both partitions.

    A day that was judged under these settings, by this code, is left out.

    Args:
        spark: a session with Delta's extension.
        lake: whose days are judged.
        days: arrival days; none: all that are not closed.
        lateness_days: N.

    Returns:
        The numbers of each day that was judged again.

    Raises:
        LakeError: a day has not landed, or was landed by an edition that did not keep what is needed.
        ClosedDayError: a named day is closed; nothing is changed then (R21).
    """
    judged: dict[date, LandedDay] = {}
    for plan in plan_rejudge(lake, days, lateness_days):
        judged |= land.commit(spark, lake, plan.write, compute(spark, plan))
    return judged


def plan_rejudge(lake: Lake, days: Collection[date], lateness_days: int) -> list[RejudgePlan]:
    """Find what is to be judged again, one plan for the days of the same versions; nothing is written.

    Raises:
        LakeError: a day has not landed, or was landed by an edition that did not keep what is needed.
        ClosedDayError: a named day is closed (R21).
    """
    entries = lake.ledger.open_entries(days or None)
    for day in sorted(days):
        if day not in entries:
            raise LakeError(f"no batch of {day} was delivered: there is nothing to judge again")
    events, quarantined = lake.find(RAW_EVENTS), lake.find(RAW_QUARANTINE)
    pinned: dict[tuple[int, int], dict[date, Entry]] = defaultdict(dict)
    for day, entry in entries.items():
        if land.is_judged(entry, lateness_days):
            LOGGER.info("judged already: %s", day)
            continue
        if events is None or quarantined is None:
            raise LakeError(f"{lake.path(RAW_EVENTS)} does not exist: materialize raw_events first")
        pinned[_versions(entry, events, quarantined)][day] = entry
    return [
        RejudgePlan(
            land.LandPlan(
                unchanged={},
                fresh=_as_batches(found),
                known=found,
                lateness_days=lateness_days,
                raw_events=events,
                raw_quarantine=quarantined,
                judged_from=f"{first} {second}",
            ),
            lake.snapshot(RAW_EVENTS, first),
            lake.snapshot(RAW_QUARANTINE, second),
        )
        for (first, second), found in pinned.items()
    ]


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
    accepted = _as_delivered(events.withColumn("raw_text", _as_json()), no_error, sources)
    refused = _whole(raw.read_days(spark, plan.quarantined, days), RAW_QUARANTINE)
    parse_error = F.when(F.col("reason").isin(*PARSE_ERRORS), F.col("reason"))
    rows = accepted.unionByName(_as_delivered(refused, parse_error, sources))
    return typed(rows, plan.write.lateness_days)


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


def _as_json() -> Column:
    """Return the text of a row whose file may be gone: its values as JSON."""
    time = F.coalesce("timestamp_text", F.col("timestamp").cast("string"))
    texts: Sequence[Column] = [*[F.col(column) for column in IDENTITY_COLUMNS if column != "timestamp"], time]
    values = [part for name, text in zip(IDENTITY_COLUMNS, texts, strict=True) for part in (F.lit(name), text)]
    no_attributes = F.create_map().cast("map<string, string>")
    return F.to_json(F.map_concat(F.create_map(*values), F.coalesce("attributes", no_attributes)))
