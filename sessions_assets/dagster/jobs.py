"""The jobs beside the daily flow: expire and judge raw days; compact, check, preview, rebuild ods_sessions; arrival.

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
from sessions_assets.lake.tables import SESSIONS
from sessions_assets.landing.batches import DeliveryError
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.audit import Arrival, arrival
from sessions_assets.pipeline.inspections import inspect_all
from sessions_assets.pipeline.land import plan_land
from sessions_assets.pipeline.preview import MOVE_COLUMNS, preview
from sessions_assets.pipeline.rejudge import rejudge
from sessions_assets.pipeline.summary_inspections import SummaryInspection, inspect_all_summaries
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
    context: dg.OpExecutionContext,
    config: ExpiryConfig,
    pyspark: SparkResource,
    lake: LakeResource,
    session_rule: SessionRuleResource,
) -> None:
    """Delete the raw and quarantined rows of expired days, then the files that no version needs any more."""
    with step(context.log):
        opened = lake.open()
        retention = timedelta(days=config.retention_days)
        days = maintain.expire(pyspark.spark_session, opened, retention, session_rule.calendar)
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
        rebuilt = maintain.rebuild(pyspark.spark_session, opened, session_rule.rule, session_rule.calendar)
    before = {f"before/{name}": number for name, number in dataclasses.asdict(rebuilt.before).items()}
    after = {f"after/{name}": number for name, number in dataclasses.asdict(rebuilt.after).items()}
    context.add_output_metadata({**before, **after, "delta_version": rebuilt.version})


class RejudgeConfig(dg.Config):
    """The configuration of `rejudge_days` in the Launchpad."""

    days: list[str] = Field(default=[], description="arrival days, such as 2025-03-10; none: all that are not closed")


@dg.op(pool=RAW_POOL)
def judge_raw_days(  # noqa: PLR0913, PLR0917 - Dagster passes each resource
    context: dg.OpExecutionContext,
    config: RejudgeConfig,
    pyspark: SparkResource,
    lake: LakeResource,
    landing: LandingResource,
    session_rule: SessionRuleResource,
) -> list[str]:
    """Judge the raw and quarantined rows of days again under the settings of today; return the days to apply."""
    days = [_day("days", text) for text in config.days]
    with step(context.log):
        opened = lake.open()
        judged = rejudge(pyspark.spark_session, opened, days, session_rule.lateness_days, landing.input_format)
        entries = opened.ledger.entries(days or None)
    rows = [
        {"day": day, "rows_accepted": landed.rows_accepted, "rows_quarantined": landed.rows_quarantined}
        for day, landed in judged.items()
    ]
    shown = rows_table(rows, ("day", "rows_accepted", "rows_quarantined"))
    context.add_output_metadata({"judged_days": len(rows), "days": shown})
    # Also those that a run before this one has judged, which failed before it applied them.
    return [day.isoformat() for day, entry in entries.items() if entry.landed_at and not entry.applied_at]


@dg.op(pool=SESSIONS_POOL)
def apply_judged_days(
    context: dg.OpExecutionContext,
    days: list[str],
    pyspark: SparkResource,
    lake: LakeResource,
    session_rule: SessionRuleResource,
) -> None:
    """Apply the days that were judged again to ods_sessions."""
    if not days:
        return
    with step(context.log):
        listed = [date.fromisoformat(day) for day in days]
        run = apply(pyspark.spark_session, lake.open(), listed, session_rule.rule, session_rule.calendar)
    context.add_output_metadata(changes_metadata(run, run.version))


@dg.op
def judge_all_sessions(
    context: dg.OpExecutionContext, pyspark: SparkResource, lake: LakeResource, session_rule: SessionRuleResource
) -> None:
    """Recompute all sessions from the events of the table, and compare each stored row, and all summaries."""
    with step(context.log):
        opened = lake.open()
        inspection = inspect_all(pyspark.spark_session, opened, session_rule.rule)
        has_summaries = opened.find(SESSIONS) is not None
        of_summaries = inspect_all_summaries(pyspark.spark_session, opened) if has_summaries else SummaryInspection()
    broken = [f"{rows} rows {name}" for name, rows in inspection.broken.items() if rows]
    broken += [f"{rows} sessions {name}" for name, rows in of_summaries.broken.items()]
    if broken:
        tables = {name: rows_table(rows, ROW_COLUMNS) for name, rows in inspection.examples.items()}
        tables |= {name: rows_table(rows, ["session_id"]) for name, rows in of_summaries.examples.items()}
        wrong = "ods_sessions" if inspection.broken else "sessions"
        raise refusal(f"{wrong} breaks the rule: {', '.join(broken)}", tables)
    context.add_output_metadata(
        {"rows_judged": inspection.rows_judged, "sessions_judged": of_summaries.sessions_judged}
    )


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
    day = _day("day", config.day) if config.day else datetime.now(UTC).date()
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


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise refusal(f"{name}={text!r}: expected a day such as 2025-03-10") from error


@dg.job(description="Deletes raw events and quarantined rows older than two weeks before the newest applied day.")
def expire_raw() -> None:
    """Run the one step."""
    expire_raw_days()


@dg.job(description="Compacts old event dates of ods_sessions: few files, sorted, without deleted rows.")
def compact_sessions() -> None:
    """Run the one step."""
    compact_session_dates()


@dg.job(
    description="Rebuilds ods_sessions from its own events. Run it once after changing a timeout or the user actions."
)
def rebuild_sessions() -> None:
    """Run the one step."""
    rebuild_all_sessions()


@dg.job(
    description="Judges landed days again from their raw and quarantined rows, under the lateness of the settings, and "
    "applies them. Needs no file of the landing."
)
def rejudge_days() -> None:
    """Judge, then apply."""
    apply_judged_days(judge_raw_days())


@dg.job(description="Checks every row of ods_sessions and of sessions, and fails if one breaks the rule.")
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

    return [
        expire_raw,
        compact_sessions,
        rebuild_sessions,
        rejudge_days,
        check_days,
        check_sessions,
        preview_day,
        expect_arrival,
    ]
