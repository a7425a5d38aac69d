"""The two assets: their partitions, the window between them, and the numbers that the UI shows of each day.

Must not know SQL, Spark settings or credentials.
"""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, Self

import dagster as dg

from sessions_assets.applications import apply
from sessions_assets.deliveries import land
from sessions_assets.lake import LakeError
from sessions_assets.landing import DeliveryError
from sessions_assets.ledger import ClosedDayError
from sessions_assets.numbers import AppliedRun, LandedDay
from sessions_assets.resources import LakeResource, LandingResource, SessionRuleResource, SparkResource
from sessions_assets.settings import Settings
from sessions_assets.tables import ODS_SESSIONS, RAW_EVENTS, Table

# Whatever writes the sessions goes through this pool, limited to one: two writers would each miss the other's rows.
SESSIONS_POOL = "ods_sessions"
RAW_POOL = "raw_events"


def arrival_days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Give the partitions of both assets: each day from the first one to today."""
    # end_offset: today's batch has a partition today.
    return dg.DailyPartitionsDefinition(start_date=settings.first_day.isoformat(), end_offset=1)


def build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Make the assets, daily by arrival day, for the first day and the lateness of the settings."""
    days = arrival_days(settings)
    with warnings.catch_warnings():
        # Two parameters are still called beta: the window's missing days before the first, and the backfill policy.
        # The minor version of Dagster is pinned, and the tests show that both do what they should.
        warnings.simplefilter("ignore", dg.BetaWarning)
        window = dg.TimeWindowPartitionMapping(
            start_offset=-settings.lateness_days, end_offset=0, allow_nonexistent_upstream_partitions=True
        )
        return [_raw_events(days), _ods_sessions(days, window)]


def _raw_events(days: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    @dg.asset(
        name=RAW_EVENTS.name,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=RAW_POOL,
        group_name="sessions",
        kinds={"pyspark", "deltalake"},
        owners=["team:sessions"],
        metadata=_table_metadata(RAW_EVENTS),
    )
    def raw_events(
        context: dg.AssetExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        landing: LandingResource,
        session_rule: SessionRuleResource,
    ) -> dg.MaterializeResult[None]:
        """The batch of the day as delivered, duplicates kept; rows that are no event go to raw_quarantine."""
        days = _days(context)
        with clear_failure(), _stopwatch() as seconds:
            landed = land(lake.open(pyspark.spark_session), landing.open(), days, session_rule.lateness_days)
        _show(context, days, {day: _landed_metadata(numbers) for day, numbers in landed.items()})
        return dg.MaterializeResult(metadata={"seconds": seconds()})

    return raw_events


def _ods_sessions(days: dg.PartitionsDefinition[str], window: dg.TimeWindowPartitionMapping) -> dg.AssetsDefinition:
    @dg.asset(
        name=ODS_SESSIONS.name,
        deps=[dg.AssetDep(RAW_EVENTS.name, partition_mapping=window)],
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=SESSIONS_POOL,
        group_name="sessions",
        kinds={"pyspark", "deltalake"},
        owners=["team:sessions"],
        metadata=_table_metadata(ODS_SESSIONS),
    )
    def ods_sessions(
        context: dg.AssetExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        session_rule: SessionRuleResource,
    ) -> dg.MaterializeResult[None]:
        """Every event once, with its session; what the batch of the day changes, whatever date it speaks of."""
        days = _days(context)
        with clear_failure(), _stopwatch() as seconds:
            run = apply(lake.open(pyspark.spark_session), days, session_rule.rule)
        _show(context, days, {day: _applied_metadata(run, day) for day in run.days})
        return dg.MaterializeResult(metadata={"seconds": seconds(), **_run_metadata(run)})

    return ods_sessions


def _table_metadata(table: Table) -> dict[str, Any]:
    columns = [
        dg.TableColumn(
            column.name, column.sql_type.lower(), column.meaning, dg.TableColumnConstraints(nullable=column.nullable)
        )
        for column in table.columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/table_name": table.name}


def _days(context: dg.AssetExecutionContext) -> list[date]:
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


@contextmanager
def clear_failure() -> Iterator[None]:
    """Show an expected refusal as its one sentence; a repeat would meet the same, so it is not retried."""
    try:
        yield
    except (ClosedDayError, DeliveryError, LakeError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


class _stopwatch:  # noqa: N801 - reads as the context manager it is
    def __enter__(self) -> Self:
        self._start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._end = time.monotonic()

    def __call__(self) -> float:
        return round(self._end - self._start, 1)


def _show(context: dg.AssetExecutionContext, days: Sequence[date], numbers: Mapping[date, dict[str, Any]]) -> None:
    """Put the numbers of each day on its own partition, and say which days had no batch."""
    for day in days:
        if day not in numbers:
            context.log.warning("%s: no batch was delivered, nothing was done for it", day)
        metadata = {"delivered": day in numbers, **numbers.get(day, {})}
        context.add_asset_metadata(metadata, partition_key=day.isoformat())


def _landed_metadata(landed: LandedDay) -> dict[str, Any]:
    return {
        "source": landed.source,
        "rows_delivered": landed.rows_delivered,
        "rows_accepted": landed.rows_accepted,
        "rows_quarantined": landed.rows_quarantined,
        **{f"quarantined/{reason}": rows for reason, rows in sorted(landed.quarantined.items())},
        **{f"late/{days}_days": rows for days, rows in sorted(landed.late_by_days.items())},
        "additional_columns": ", ".join(landed.additional_columns) or "none",
        "dagster/partition_row_count": landed.rows_accepted,
    }


def _applied_metadata(run: AppliedRun, day: date) -> dict[str, Any]:
    applied = run.days[day]
    seen = applied.events_first_seen
    return {
        "rows_accepted": applied.rows_accepted,
        "duplicates": applied.duplicates,
        "rows_inserted": applied.rows_inserted,
        "events_first_seen": seen,
        "empty_share": round(applied.empty_events / seen, 4) if seen else 0.0,
        "dagster/partition_row_count": seen,
    }


def _run_metadata(run: AppliedRun) -> dict[str, Any]:
    return {
        **{f"run/rows_{change}": rows for change, rows in run.rows.items()},
        **{f"run/sessions_{fate}": sessions for fate, sessions in run.sessions.items()},
        "delta_version": run.version,
    }
