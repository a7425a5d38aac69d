"""What landing and applying days would change: the same plans and the same computation, without the commits.

Must not know Dagster, the environment or how a session is computed.
Source of the rules: R14 to R17, R19.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.lake import Lake, Measured
from sessions_assets.lake.raw import as_events
from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets.landing.batches import Landing
from sessions_assets.landing.rows import reading
from sessions_assets.pipeline import apply, land
from sessions_assets.pipeline.compute import ApplyPlan, Batch, compute
from sessions_assets.pipeline.results import ChangeCounts
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE
from sessions_assets.rule.events import ARRIVAL_DAY, KEY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule

SHOWN = 20
"""How many of the sessions that would change are shown."""


_TICK = timedelta(microseconds=1)

MOVE_COLUMNS = (*KEY_COLUMNS, "session_before", "session_after", "rows_inserted", "rows_changed", "rows_removed")
"""Their columns: session starts (NULL: in no session, or not stored), and numbers of rows by change."""


@dataclass(frozen=True)
class Preview:
    """What a run would do.

    Attributes:
        counts: its numbers.
        version: of ods_sessions as it was read; None if there is no table yet.
        sessions_touched: how many sessions, and how many moves of rows between sessions, would change.
        sessions: the first of them, by user, product and start, as `MOVE_COLUMNS` -> value.
    """

    counts: ChangeCounts
    version: int | None
    sessions_touched: int
    sessions: list[dict[str, Any]]


def preview(spark: SparkSession, lake: Lake, landing: Landing, plan: land.LandPlan, rule: SessionRule) -> Preview:
    """Compute what landing and applying the batches of a plan, as they are in the landing now, would change.

    Raises:
        DeliveryError: a batch cannot be taken.
        LakeError: ods_sessions was built under another rule (R22).
    """
    # What has landed already is read again: the preview is of the files that are in the landing.
    batches = {**plan.unchanged, **plan.fresh}
    rows = land.read_batches(spark, landing, batches, plan.lateness_days)
    sessions = lake.find(ODS_SESSIONS)
    if sessions is not None:
        apply.check_rule(sessions, rule)
    days = tuple(sorted(batches))
    apply_plan = ApplyPlan(days, days, plan.raw_events, sessions, rule)
    accepted = as_events(rows.where(F.col("reason").isNull()), rule.carried)
    with reading([file for batch in batches.values() for file in batch.files]):
        changes = compute(spark, apply_plan, Batch(accepted, _measured(accepted)))
    moves = _moves(changes.rows) if changes.rows is not None else (0, [])
    return Preview(changes.counts, sessions.version if sessions else None, *moves)


def _measured(batch: DataFrame) -> list[Measured]:
    """Measure a batch that has not landed."""
    found = (
        batch.groupBy(ARRIVAL_DAY, F.date_diff(ARRIVAL_DAY, F.to_date("timestamp")).alias("days_late"))
        .agg(F.count("*"), F.approx_count_distinct(F.xxhash64(*KEY_COLUMNS)), F.unix_micros(F.min("timestamp")))
        .collect()
    )
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        Measured(day, days_late, rows, keys, epoch + micros * _TICK) for day, days_late, rows, keys, micros in found
    ]


def _moves(changed: DataFrame) -> tuple[int, list[dict[str, Any]]]:
    after = F.when(F.col("change") != DELETE, F.col("session_start")).alias("session_after")
    rows = (F.count_if(F.col("change") == change).alias(f"rows_{change}") for change in (INSERT, UPDATE, DELETE))
    moves = (
        changed.groupBy(*KEY_COLUMNS, F.col("stored_session_start").alias("session_before"), after)
        .agg(*rows)
        .orderBy(*KEY_COLUMNS, F.coalesce("session_after", "session_before"), "session_before")
    )
    return moves.count(), [row.asDict() for row in moves.limit(SHOWN).collect()]
