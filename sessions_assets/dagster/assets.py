"""The two assets: their partitions, the window between them, and what a materialization of a day does.

Must not know SQL, Spark settings, credentials or how numbers are shown.
"""

import warnings
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from sessions_assets.dagster.metadata import (
    lineage_of_sessions,
    of_applied,
    of_changes,
    of_landed,
    of_run,
    of_table,
)
from sessions_assets.dagster.resources import LakeResource, LandingResource, SessionRuleResource, SparkResource
from sessions_assets.dagster.steps import step
from sessions_assets.lake.ods import sessions_by_hour
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.settings import Settings

# Whatever writes the sessions goes through this pool, limited to one: two writers would each miss the other's rows.
SESSIONS_POOL = "ods_sessions"
RAW_POOL = "raw_events"

# A worker or a store that was lost in mid-run may be back; each step may be repeated. What is refused is not retried.
_AFTER_A_LOSS = dg.RetryPolicy(max_retries=1, delay=15)


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
        retry_policy=_AFTER_A_LOSS,
        group_name="sessions",
        kinds={"pyspark", "deltalake"},
        owners=["team:sessions"],
        metadata=of_table(RAW_EVENTS),
    )
    def raw_events(
        context: dg.AssetExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        landing: LandingResource,
        session_rule: SessionRuleResource,
    ) -> None:
        """The batch of the day as delivered, duplicates kept; rows that are no event go to raw_quarantine."""
        days = _days(context)
        with step(context.log) as seconds:
            batches = landing.open()  # before Spark starts, which takes longer than to see that S3 refuses
            opened = lake.open()
            landed = land(pyspark.spark_session, opened, batches, days, session_rule.lateness_days)
        whole = of_run(seconds(), pyspark.ui_address)
        _show(context, days, {day: of_landed(numbers) for day, numbers in landed.items()}, whole)

    return raw_events


def _ods_sessions(days: dg.PartitionsDefinition[str], window: dg.TimeWindowPartitionMapping) -> dg.AssetsDefinition:
    @dg.asset(
        name=ODS_SESSIONS.name,
        deps=[dg.AssetDep(RAW_EVENTS.name, partition_mapping=window)],
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=SESSIONS_POOL,
        retry_policy=_AFTER_A_LOSS,
        group_name="sessions",
        kinds={"pyspark", "deltalake"},
        owners=["team:sessions"],
        metadata=of_table(ODS_SESSIONS),
    )
    def ods_sessions(
        context: dg.AssetExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        session_rule: SessionRuleResource,
    ) -> None:
        """Every event once, with its session; what the batch of the day changes, whatever date it speaks of."""
        days = _days(context)
        with step(context.log) as seconds:
            opened = lake.open()
            run = apply(pyspark.spark_session, opened, days, session_rule.rule)
            hours = sessions_by_hour(opened.snapshot(ODS_SESSIONS, run.version), run.days)
        whole = {
            **of_changes(run, run.version),
            "commit": lake.commit,
            **of_run(seconds(), pyspark.ui_address),
            **lineage_of_sessions(),
        }
        _show(context, days, {day: of_applied(run, day, hours[day]) for day in run.days}, whole)

    return ods_sessions


def _days(context: dg.AssetExecutionContext) -> list[date]:
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


def _show(
    context: dg.AssetExecutionContext,
    days: Sequence[date],
    numbers: Mapping[date, Mapping[str, Any]],
    whole: Mapping[str, Any],
) -> None:
    """Put the numbers of each day on its own partition, then those of the whole run; say which days had no batch."""
    for day in days:
        if day not in numbers:
            context.log.warning("%s: no batch was delivered, nothing was done for it", day)
        metadata = {**numbers.get(day, {}), "delivered": day in numbers, **whole}
        context.add_asset_metadata(metadata, partition_key=day.isoformat())
