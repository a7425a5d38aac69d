"""What materializing a day again would change of the stored sessions, found without writing anything.

Knows the order of reads. Must not know Dagster, the environment or how a session is computed.
Source of the rules: R14 to R17, R19.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.lake import Lake, Measured
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.landing.layouts import reading
from sessions_assets.pipeline.apply import check_rule, compute
from sessions_assets.pipeline.land import read
from sessions_assets.pipeline.progress import phase
from sessions_assets.pipeline.results import AppliedDay, AppliedRun, count_measured
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule

SHOWN = 20
"""So many of the sessions that would change are shown."""


_TICK = timedelta(microseconds=1)

MOVE_COLUMNS = (*KEY_COLUMNS, "session_before", "session_after", "rows_inserted", "rows_changed", "rows_removed")
"""What is shown of them: starts of sessions (NULL: in none, or not stored), and numbers of rows by change."""


@dataclass(frozen=True)
class Preview:
    """What a run would do.

    Attributes:
        run: its numbers; `version` is that of the table which was read.
        sessions_touched: how many sessions, and how many moves of rows between sessions, would change.
        sessions: the first of them, by user, product and start, as `MOVE_COLUMNS` -> value.
    """

    run: AppliedRun
    sessions_touched: int
    sessions: list[dict[str, Any]]


def preview(lake: Lake, landing: Landing, days: Sequence[date], lateness_days: int, rule: SessionRule) -> Preview:
    """Compute what landing and applying these days, as their batches lie in the landing now, would change.

    Raises:
        DeliveryError: no day has a batch, or a batch cannot be taken.
        ClosedDayError: a day has expired (R21).
        LakeError: ods_sessions was never made, or was built under another rule (R22).
    """
    deliveries = landing.find(days)
    if not deliveries:
        raise DeliveryError(landing.missing(days[0]))
    lake.ledger.open_entries(deliveries)
    days_of_run, raw_version = {day: AppliedDay(0) for day in deliveries}, lake.version(RAW_EVENTS)
    run = AppliedRun(days_of_run, [*deliveries], raw_version, version=lake.version(ODS_SESSIONS))
    check_rule(lake, rule)
    rows, _ = read(lake, landing, deliveries, lateness_days)
    batch = rows.where(F.col("reason").isNull()).select(*IDENTITY_COLUMNS, ARRIVAL_DAY)
    with reading():
        with phase("read") as say:
            measured = _measured(batch) + lake.measure(ODS_SESSIONS, run.days, run.version)
            count_measured(run, measured)
            say(f"{run.rows_delivered} rows of {len(run.days)} batches")
        changed = compute(lake, batch, measured, run, rule)
    return Preview(run, 0, []) if changed is None else Preview(run, *_moves(changed))


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
