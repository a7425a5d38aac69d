"""The jobs beside the daily flow: expire raw days; compact, check, preview and rebuild ods_sessions; check arrival.

Must not know SQL, Spark settings or credentials.
"""

import dataclasses
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from pydantic import Field

from sessions_assets.dagster.assets import RAW_POOL, SESSIONS_POOL, arrival_days
from sessions_assets.dagster.internals import UnresolvedAssetJobDefinition
from sessions_assets.dagster.metadata import changes_metadata, rows_table
from sessions_assets.dagster.resources import LakeResource, LandingResource, SessionRuleResource, SparkResource
from sessions_assets.dagster.steps import refusal, step
from sessions_assets.landing.batches import DeliveryError
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.audit import Arrival, arrival
from sessions_assets.pipeline.inspections import inspect_all
from sessions_assets.pipeline.land import plan_land
from sessions_assets.pipeline.preview import MOVE_COLUMNS, preview
from sessions_assets.rule.violations import ROW_COLUMNS
from sessions_assets.settings import Settings


class ExpiryConfig(dg.Config):
    """The configuration of `expire_raw` in the Launchpad."""

    retention_days: int = Field(
        default=maintain.RETENTION // timedelta(days=1),
        ge=1,
        description="how many days before the newest applied day raw events are kept",
    )


@dg.op(pool=RAW_POOL)
def expire_raw_days(
    context: dg.OpExecutionContext, config: ExpiryConfig, pyspark: SparkResource, lake: LakeResource
) -> None:
    """Delete the raw and quarantined rows of expired days, then the files that no version needs any more."""
    with step(context.log):
        opened = lake.open()
        days = maintain.expire(pyspark.spark_session, opened, timedelta(days=config.retention_days))
    context.add_output_metadata({"expired_days": len(days), "days": ", ".join(map(str, days)) or "none"})


@dg.op(pool=SESSIONS_POOL)
def compact_session_dates(
    context: dg.OpExecutionContext, pyspark: SparkResource, lake: LakeResource, session_rule: SessionRuleResource
) -> None:
    """Rewrite event dates before the lateness window into few sorted files, then delete files that no version needs."""
    with step(context.log):
        opened = lake.open()
        dates = maintain.compact(pyspark.spark_session, opened, session_rule.lateness_days)
    context.add_output_metadata({"compacted_dates": len(dates), "dates": ", ".join(map(str, dates)) or "none"})


@dg.op(pool=SESSIONS_POOL)
def rebuild_all_sessions(
    context: dg.OpExecutionContext, pyspark: SparkResource, lake: LakeResource, session_rule: SessionRuleResource
) -> None:
    """Recompute all sessions from the events of the table, under the rule of the settings, in one commit."""
    with step(context.log):
        opened = lake.open()
        rebuilt = maintain.rebuild(pyspark.spark_session, opened, session_rule.rule)
    before = {f"before/{name}": number for name, number in dataclasses.asdict(rebuilt.before).items()}
    after = {f"after/{name}": number for name, number in dataclasses.asdict(rebuilt.after).items()}
    context.add_output_metadata({**before, **after, "delta_version": rebuilt.version})


@dg.op
def judge_all_sessions(
    context: dg.OpExecutionContext, pyspark: SparkResource, lake: LakeResource, session_rule: SessionRuleResource
) -> None:
    """Recompute all sessions from the events of the table, and compare each stored row."""
    with step(context.log):
        opened = lake.open()
        inspection = inspect_all(pyspark.spark_session, opened, session_rule.rule)
    broken = {name: rows for name, rows in inspection.broken.items() if rows}
    if broken:
        raise refusal(
            f"ods_sessions breaks the rule: {', '.join(f'{n} rows {name}' for name, n in broken.items())}",
            {name: rows_table(rows, ROW_COLUMNS) for name, rows in inspection.examples.items()},
        )
    context.add_output_metadata({"rows_judged": inspection.rows_judged})


@dg.op
def preview_a_day(
    context: dg.OpExecutionContext,
    pyspark: SparkResource,
    lake: LakeResource,
    landing: LandingResource,
    session_rule: SessionRuleResource,
) -> None:
    """Compute what materializing the batch that is now in the landing would change. Writes nothing."""
    day = date.fromisoformat(context.partition_key)
    with step(context.log):
        batches = landing.open()
        opened = lake.open()
        plan = plan_land(opened, batches, [day], session_rule.lateness_days)
        previewed = preview(pyspark.spark_session, opened, batches, plan, session_rule.rule)
    context.add_output_metadata(
        {
            **changes_metadata(previewed.counts, previewed.version),
            "sessions_touched": previewed.sessions_touched,
            "sessions": rows_table(previewed.sessions, MOVE_COLUMNS),
        }
    )


class ArrivalConfig(dg.Config):
    """The configuration of `expect_arrival` in the Launchpad."""

    day: str = Field(default="", description="the arrival day, such as 2025-03-10; empty: today, in UTC")


@dg.op
def look_for_the_batch(
    context: dg.OpExecutionContext, config: ArrivalConfig, lake: LakeResource, landing: LandingResource
) -> None:
    """Fail unless the batch of the day has arrived, landed and been applied."""
    try:
        day = date.fromisoformat(config.day) if config.day else datetime.now(UTC).date()
    except ValueError as error:
        raise refusal(f"day={config.day!r}: expected a day such as 2025-03-10") from error
    with step(context.log):
        entry = lake.open().ledger.entries([day]).get(day)
    state = arrival(entry)
    if entry is not None and state is Arrival.APPLIED:
        context.add_output_metadata({"source": entry.source, "rows_delivered": entry.rows_delivered})
        return
    problem = f"the batch of {day} has landed but ods_sessions has not applied it"
    if state is Arrival.NOT_LANDED:
        with step(context.log):
            batches = landing.open()
            deliveries = batches.find([day])
            if not deliveries:
                raise DeliveryError(batches.missing(day))
        problem = f"the batch of {day} is in the landing as {deliveries[day].source} but has not landed"
    raise refusal(f"{problem}: is the sensor new_batches on, or has its run failed?")


@dg.job(description="Deletes raw events and quarantined rows older than two weeks before the newest applied day.")
def expire_raw() -> None:
    """Run the one step."""
    expire_raw_days()


@dg.job(description="Compacts old event dates of ods_sessions: few files, sorted, without deleted rows.")
def compact_sessions() -> None:
    """Run the one step."""
    compact_session_dates()


@dg.job(
    description="Rebuilds ods_sessions from its own events. Run it once after changing the timeout or the user actions."
)
def rebuild_sessions() -> None:
    """Run the one step."""
    rebuild_all_sessions()


@dg.job(description="Checks every row of ods_sessions against the rule, and fails if one breaks it.")
def check_sessions() -> None:
    """Run the one step."""
    judge_all_sessions()


@dg.job(description="Fails unless today's batch has arrived and has been applied. Does not start Spark.")
def expect_arrival() -> None:
    """Run the one step."""
    look_for_the_batch()


def build_jobs(settings: Settings) -> list[dg.JobDefinition | UnresolvedAssetJobDefinition]:
    """Return the jobs, for the days of the settings."""
    check_days = dg.define_asset_job(
        "check_days",
        dg.AssetSelection.all_asset_checks(),
        description="Runs the asset checks alone: for the day in the tag dagster/partition, or for the whole table.",
    )

    @dg.job(
        partitions_def=arrival_days(settings),
        description="Shows which rows and sessions materializing a day again would change. Writes nothing.",
    )
    def preview_day() -> None:
        """Run the one step."""
        preview_a_day()

    return [expire_raw, compact_sessions, rebuild_sessions, check_days, check_sessions, preview_day, expect_arrival]
