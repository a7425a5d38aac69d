"""Judge stored sessions: the rows that a day can have changed, how many of them break the rule, and examples.

Knows which rows are read, and that they are read once. Must not know Dagster, the environment, what a violation is or
which of them blocks.
Source of the rules: R14 (what a day can change), R18 (what must hold then), R24.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.ods import read_rows
from sessions_assets.lake.raw import read_events
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.pipeline.apply import is_applied_with
from sessions_assets.pipeline.progress import phase
from sessions_assets.rule.carried import CARRIED
from sessions_assets.rule.changes import earliest_changes
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.violations import (
    ARRIVAL,
    MISSING,
    ROW_COLUMNS,
    VALUES,
    VIOLATIONS,
    violations,
    violations_of_all,
)

EXAMPLES = 5
"""The number of offending rows that are shown of each violation."""


@dataclass
class Inspection:
    """The outcome of judging one day, or the whole table.

    Attributes:
        rows_judged: stored rows that were judged, in the whole run.
        rows_accepted: rows of the day's batch; 0 if its raw rows have expired.
        rows_late: those of them that are dated before their arrival day.
        broken: number of offending rows by violation, only where there are any.
        examples: up to `EXAMPLES` of them, first in the order of their values, as column -> value.
    """

    rows_judged: int = 0
    rows_accepted: int = 0
    rows_late: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def inspect(spark: SparkSession, lake: Lake, days: Sequence[date], rule: SessionRule) -> dict[date, Inspection]:
    """Judge the keys in the batches of these days, each key from its earliest event in a batch (R14).

    Returns:
        The outcome of each day. For a day whose raw rows have expired only the stored rows are judged.

    Raises:
        LakeError: ods_sessions or raw_events does not exist.
    """
    entries = lake.ledger.entries(days)
    expired = {day for day, entry in entries.items() if entry.expired_at}
    kept = [day for day in days if day not in expired]
    sessions, raw_events = lake.snapshot(ODS_SESSIONS), lake.snapshot(RAW_EVENTS)
    stored = read_rows(spark, sessions, rule.carried)
    batch = _to_compare(read_events(spark, raw_events, kept, rule.carried), entries, rule)
    touched = batch.select(*IDENTITY_COLUMNS, F.col(ARRIVAL_DAY).alias("day"))
    if expired:
        brought = stored.where(F.col("first_updated_at").isin(*expired))
        touched = touched.unionByName(brought.select(*IDENTITY_COLUMNS, F.col("first_updated_at").alias("day")))
    first = _first_date(sessions, raw_events, days, rule)
    in_reach = stored.where(F.col("pdate") >= first) if first else stored
    judged = violations(in_reach, batch, earliest_changes(touched), kept, rule)
    inspections = {day: Inspection() for day in days}
    with phase("inspect") as note:
        broken = _count(judged, inspections)
        note(f"{inspections[days[0]].rows_judged} stored rows, {broken} violations")
    if broken:
        first_events = touched.groupBy("day", *KEY_COLUMNS).agg(F.min("timestamp").alias("since"))
        offending = _offending(judged)
        of_keys = offending.where(F.col("about").isNull()).join(first_events, [*KEY_COLUMNS])
        of_days = offending.where(F.col("about").isNotNull()).withColumn("day", F.col("about"))
        _show(of_days.unionByName(of_keys.where(F.col("timestamp") >= F.col("since")).drop("since")), inspections)
    return inspections


def inspect_all(spark: SparkSession, lake: Lake, rule: SessionRule) -> Inspection:
    """Judge the whole table: recompute its sessions from all its events, and compare each row.

    The batches of days that were applied and have not expired must be in it.

    Raises:
        LakeError: ods_sessions or raw_events does not exist.
    """
    entries = lake.ledger.entries()
    kept = [day for day, entry in entries.items() if entry.applied_at and not entry.expired_at]
    stored = read_rows(spark, lake.snapshot(ODS_SESSIONS), rule.carried)
    batches = _to_compare(read_events(spark, lake.snapshot(RAW_EVENTS), kept, rule.carried), entries, rule)
    judged = violations_of_all(stored, batches, kept, rule)
    whole = Inspection()
    with phase("inspect") as note:
        broken = _count(judged, dict.fromkeys([None, *kept], whole))
        note(f"{whole.rows_judged} stored rows, {broken} violations")
    if broken:
        _show(_offending(judged).withColumn("day", F.lit(None)), {None: whole})
    return whole


def _to_compare(batch: DataFrame, entries: Mapping[date, Entry], rule: SessionRule) -> DataFrame:
    """Return a batch without the values of days that were applied while other attributes were carried (R24)."""
    if not rule.carried:
        return batch
    days = [day for day, entry in entries.items() if is_applied_with(entry, rule)]
    is_compared = F.col(ARRIVAL_DAY).isin(*days) if days else F.lit(False)
    return batch.withColumn(CARRIED, F.when(is_compared, F.col(CARRIED)))


def _first_date(sessions: Snapshot, raw_events: Snapshot, days: Sequence[date], rule: SessionRule) -> date | None:
    """Return an event date before which the days can have changed nothing, by the statistics of the files.

    None: they tell of none, as those of days without a row.
    """
    bounds = (
        raw_events.least_timestamp(ARRIVAL_DAY, days),
        sessions.least_timestamp("first_updated_at", days),
    )
    known = [bound for bound in bounds if bound is not None]
    return (min(known) - rule.longest_timeout).date() if known else None


def _count(judged: DataFrame, inspections: Mapping[Any, Inspection]) -> int:
    """Count what was judged, in one scan; return the number of violations."""
    is_late = F.to_date("timestamp") < F.col("first_updated_at")
    counts = (
        judged.groupBy(F.when(~F.col("is_stored"), F.col("first_updated_at")).alias("day"))
        .agg(
            F.count("*").alias("rows"),
            F.count_if(is_late).alias("late"),
            sum((F.count_if(name) for name in VIOLATIONS), F.lit(0)).alias("broken"),
        )
        .collect()
    )
    for row in counts:
        if row["day"]:
            inspections[row["day"]].rows_accepted += row["rows"]
            inspections[row["day"]].rows_late += row["late"]
        else:
            for inspection in inspections.values():
                inspection.rows_judged = row["rows"]
    return sum(row["broken"] for row in counts)


def _offending(judged: DataFrame) -> DataFrame:
    """Return one row for each violation of each offending row; `about` is set where it concerns one day alone."""
    named = F.array_compact(F.array(*[F.when(F.col(name), F.lit(name)) for name in VIOLATIONS]))
    is_of_a_day = F.col("violation").isin(MISSING, ARRIVAL, VALUES) | ~F.col("is_known")
    return judged.withColumn("violation", F.explode(named)).select(
        *ROW_COLUMNS, "violation", F.when(is_of_a_day, F.col("about")).alias("about")
    )


def _show(offending: DataFrame, inspections: Mapping[Any, Inspection]) -> None:
    """Add the number of offending rows of each day, and some examples."""
    of_a_kind = Window.partitionBy("day", "violation")
    rows: list[Row] = (
        offending.withColumn("number", F.row_number().over(of_a_kind.orderBy(*IDENTITY_COLUMNS)))
        .withColumn("rows", F.count("*").over(of_a_kind))
        .where(F.col("number") <= EXAMPLES)
        .orderBy("day", "violation", "number")
        .collect()
    )
    for row in rows:
        inspection = inspections[row["day"]]
        inspection.broken[row["violation"]] = row["rows"]
        inspection.examples.setdefault(row["violation"], []).append({name: row[name] for name in ROW_COLUMNS})
