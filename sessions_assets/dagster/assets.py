"""The assets: their partitions, the dependencies between them, and what materializing a day does.

Must not know SQL, Spark settings, credentials or the keys of metadata.
"""

import warnings
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import dagster as dg

from sessions_assets.dagster.metadata import (
    absent_metadata,
    applied_metadata,
    changes_metadata,
    column_lineage,
    landed_metadata,
    picture_metadata,
    run_metadata,
    sessions_metadata,
    settled_metadata,
    summarized_metadata,
    table_metadata,
)
from sessions_assets.dagster.resources import LakeResource, LandingResource, SessionRuleResource, SparkResource
from sessions_assets.dagster.steps import no_day, step
from sessions_assets.lake.ods import sessions_by_hour
from sessions_assets.lake.sessions import days_of_sessions
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, SESSIONS
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.summarize import applied_days, summarize
from sessions_assets.settings import Settings

# Whatever writes ods_sessions or sessions runs in this pool, limited to one run: the second of two writers would be
# refused.
SESSIONS_POOL = "ods_sessions"
RAW_POOL = "raw_events"

# A worker or a store that was lost during a run may be back; every step is idempotent. A refusal is not retried.
_AFTER_A_LOSS = dg.RetryPolicy(max_retries=1, delay=15)


def arrival_days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Return the partitions of the assets: each arrival day from the first one to today."""
    # end_offset: today's batch has a partition today.
    return dg.DailyPartitionsDefinition(start_date=settings.first_day.isoformat(), end_offset=1)


def build_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets, partitioned by arrival day, for the first day and the lateness of the settings."""
    days = arrival_days(settings)
    with warnings.catch_warnings():
        # Two parameters are in beta: a window that reaches before the first day, and the backfill policy.
        # The minor version of Dagster is pinned, and tests assert what both do.
        warnings.simplefilter("ignore", dg.BetaWarning)
        window = dg.TimeWindowPartitionMapping(
            start_offset=-settings.lateness_days, end_offset=0, allow_nonexistent_upstream_partitions=True
        )
        return [_raw_events(days), _ods_sessions(days, window, settings.carry), _sessions(days)]


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
        metadata=table_metadata(RAW_EVENTS),
    )
    def raw_events(
        context: dg.AssetExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        landing: LandingResource,
        session_rule: SessionRuleResource,
    ) -> None:
        """One row per delivered event, duplicates kept. A partition holds the batch of that arrival day.

        Rows that are no valid event go to raw_quarantine, each with its reason.
        """
        days = _days(context)
        with step(context.log) as seconds:
            batches = landing.open()  # before Spark starts, which takes longer than a refusal by S3
            opened = lake.open()
            landed = land(pyspark.spark_session, opened, batches, days, session_rule.lateness_days)
        whole = run_metadata(seconds(), pyspark.ui_address)
        numbers = {day: landed_metadata(numbers) for day, numbers in landed.items()}
        _add_metadata(context, days, numbers, whole, _DELIVERED)

    return raw_events


def _ods_sessions(
    days: dg.PartitionsDefinition[str], window: dg.TimeWindowPartitionMapping, carried: Sequence[str]
) -> dg.AssetsDefinition:
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
        metadata=table_metadata(ODS_SESSIONS.carrying(carried)),
    )
    def ods_sessions(
        context: dg.AssetExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        session_rule: SessionRuleResource,
    ) -> None:
        """One row per event, with its session.

        A partition applies what the batch of that arrival day adds, changes or removes.
        """
        days = _days(context)
        with step(context.log) as seconds:
            opened = lake.open()
            run = apply(pyspark.spark_session, opened, days, session_rule.rule, session_rule.calendar)
            hours = sessions_by_hour(opened.snapshot(ODS_SESSIONS, run.version), run.days)
            pictures = picture_metadata(run.days, hours)
        numbers = {
            day: {**pictures.get(day, {}), **applied_metadata(applied, hours[day])} for day, applied in run.days.items()
        }
        changed = {
            **changes_metadata(run, run.version),
            **settled_metadata(run, days[-1]),
            **absent_metadata(run.absent),
            "commit": lake.commit,
        }
        if run.settled.sessions:
            context.log.warning(
                "%d settled sessions changed: %s", run.settled.sessions, ", ".join(run.settled.examples)
            )
        for name in run.absent:
            context.log.warning("no batch of this run has the attribute %s, which SESSIONS_CARRY names: NULL", name)
        whole = {**changed, **run_metadata(seconds(), pyspark.ui_address), **column_lineage(carried)}
        _add_metadata(context, days, numbers, whole, _DELIVERED)

    return ods_sessions


def _sessions(days: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    @dg.asset(
        name=SESSIONS.name,
        deps=[ODS_SESSIONS.name],
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=SESSIONS_POOL,
        retry_policy=_AFTER_A_LOSS,
        group_name="sessions",
        kinds={"pyspark", "deltalake"},
        owners=["team:sessions"],
        metadata=table_metadata(SESSIONS),
    )
    def sessions(
        context: dg.AssetExecutionContext,
        pyspark: SparkResource,
        lake: LakeResource,
        session_rule: SessionRuleResource,
    ) -> None:
        """One row per session, derived from ods_sessions.

        A partition brings the table, and session_changes, to the newest version of ods_sessions. Each commit says which
        version that is.
        """
        days = _days(context)
        with step(context.log) as seconds:
            opened = lake.open()
            applied = applied_days(opened, days)
            run = summarize(pyspark.spark_session, opened, session_rule.rule)
            numbers = days_of_sessions(opened.snapshot(SESSIONS, run.version), applied)
        if run.rebuilt:
            context.log.warning("all summaries were computed anew: %s", run.rebuilt)
        whole = {**summarized_metadata(run), **run_metadata(seconds(), pyspark.ui_address)}
        _add_metadata(context, days, sessions_metadata(numbers), whole, _APPLIED)

    return sessions


def _days(context: dg.AssetExecutionContext) -> list[date]:
    days = sorted(date.fromisoformat(key) for key in context.partition_keys)
    if not days:
        raise no_day(context.run.tags)
    return days


class _Needed(NamedTuple):
    """What a day needs: the name under which its metadata say whether it is there, and the sentence if it is not."""

    name: str
    lacking: str


_DELIVERED = _Needed("delivered", "no batch was delivered")
_APPLIED = _Needed("applied", "ods_sessions has not applied it")


def _add_metadata(
    context: dg.AssetExecutionContext,
    days: Sequence[date],
    numbers: Mapping[date, Mapping[str, Any]],
    whole: Mapping[str, Any],
    needed: _Needed,
) -> None:
    """Add to each partition the numbers of its day and those of the whole run, and warn of days that are skipped."""
    for day in days:
        if day not in numbers:
            context.log.warning("%s: %s, the day is skipped", day, needed.lacking)
        metadata = {**numbers.get(day, {}), needed.name: day in numbers, **whole}
        context.add_asset_metadata(metadata, partition_key=day.isoformat())
