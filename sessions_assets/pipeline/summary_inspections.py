"""Judge session summaries: those that a day can have changed, or all, against the version that the table equals.

Must not know Dagster, the environment, what a violation is or which of them blocks.
Source of the rules: R28.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake, LakeError
from sessions_assets.lake.sessions import History, stamp_of
from sessions_assets.lake.spark import read
from sessions_assets.lake.tables import ODS_SESSIONS, SESSIONS
from sessions_assets.pipeline.progress import phase
from sessions_assets.rule.summary_violations import SUMMARY_VIOLATIONS, summary_violations

EXAMPLES = 5
"""The number of sessions that are shown of each violation."""


@dataclass
class SummaryInspection:
    """The outcome of judging the summaries that a day touched, or all.

    Attributes:
        sessions_judged: how many.
        broken: number of sessions by violation, only where there are any.
        examples: some of their ids.
    """

    sessions_judged: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def inspect_summaries(spark: SparkSession, lake: Lake, days: Sequence[date]) -> Mapping[date | None, SummaryInspection]:
    """Judge the sessions that hold an event of which one of these days is the first arrival day, or say so.

    Raises:
        LakeError: there is no sessions, or another program has written it.
    """
    table, ods = _judged_tables(lake)
    events, stored = _events(spark, ods), read(spark, table)
    day = F.col("first_updated_at").alias("day")
    of_days = events.where(F.col("first_updated_at").isin(*days)).select("session_id", day)
    for arrival in ("first_updated_at", "last_updated_at"):
        said = stored.where(F.col(arrival).isin(*days)).select("session_id", F.col(arrival).alias("day"))
        of_days = of_days.unionByName(said)
    of_days = of_days.distinct()
    judged = summary_violations(
        stored.join(of_days, "session_id", "left_semi"), events.join(of_days, "session_id", "left_semi")
    )
    return {day: SummaryInspection() for day in days} | _counted(judged.join(of_days, "session_id"))


def inspect_all_summaries(spark: SparkSession, lake: Lake) -> SummaryInspection:
    """Judge all sessions.

    Raises:
        LakeError: as `inspect_summaries`.
    """
    table, ods = _judged_tables(lake)
    judged = summary_violations(read(spark, table), _events(spark, ods)).withColumn("day", F.lit(None).cast("date"))
    return _counted(judged).get(None, SummaryInspection())


def _judged_tables(lake: Lake) -> tuple[Snapshot, Snapshot]:
    """Return sessions, and ods_sessions at the version that it equals."""
    table = lake.snapshot(SESSIONS)
    stamp = stamp_of(table)
    if stamp is None:
        raise LakeError(f"another program has written {table.address}: materialize sessions, which mends it")
    ods = lake.snapshot(ODS_SESSIONS)
    if not History(ods).has(stamp):
        raise LakeError(
            f"{table.address} equals version {stamp.version} of another {ODS_SESSIONS.name}: materialize sessions"
        )
    judged = lake.snapshot(ODS_SESSIONS, stamp.version)
    if judged.version < ods.version and (missing := judged.missing_files()):
        raise LakeError(
            f"{table.address} equals version {stamp.version} of {ods.version} of {ODS_SESSIONS.name}, of which "
            f"{len(missing)} files are deleted: materialize sessions, which brings it on"
        )
    return table, judged


def _events(spark: SparkSession, ods: Snapshot) -> DataFrame:
    return read(spark, ods).where(F.col("session_id").isNotNull())


def _counted(judged: DataFrame) -> dict[Any, SummaryInspection]:
    """Count the judged sessions by `day`, in one scan."""
    with phase("inspect summaries") as note:
        examples = {
            name: F.slice(F.array_sort(F.collect_list(F.when(F.col(name), F.col("session_id")))), 1, EXAMPLES)
            for name in SUMMARY_VIOLATIONS
        }
        rows = (
            judged.groupBy("day")
            .agg(
                F.count("*").alias("sessions"),
                *[F.count_if(F.col(name)).alias(name) for name in examples],
                *[ids.alias(f"{name} ids") for name, ids in examples.items()],
            )
            .collect()
        )
        note(f"{sum(row['sessions'] for row in rows)} sessions")
    return {
        row["day"]: SummaryInspection(
            row["sessions"],
            {name: row[name] for name in SUMMARY_VIOLATIONS if row[name]},
            {name: [{"session_id": each} for each in row[f"{name} ids"]] for name in SUMMARY_VIOLATIONS if row[name]},
        )
        for row in rows
    }
