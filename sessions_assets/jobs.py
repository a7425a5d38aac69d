"""The jobs beside the daily flow: what expires raw days, tends and rebuilds ods_sessions, and when they start.

Must not know SQL, Spark settings or credentials.
"""

import dataclasses
from datetime import timedelta

import dagster as dg
from pydantic import Field

from sessions_assets import upkeep
from sessions_assets.assets import RAW_POOL, SESSIONS_POOL, clear_failure
from sessions_assets.resources import LakeResource, SessionRuleResource, SparkResource


class ExpiryConfig(dg.Config):
    """What the Launchpad asks of `expire_raw`."""

    retention_days: int = Field(
        default=upkeep.RETENTION // timedelta(days=1),
        ge=1,
        description="how many days behind the newest applied day raw events are kept",
    )


@dg.op(pool=RAW_POOL)
def expire_raw_days(
    context: dg.OpExecutionContext, config: ExpiryConfig, pyspark: SparkResource, lake: LakeResource
) -> None:
    """Delete raw and quarantined rows of days behind the retention, then the files that nobody can read any more."""
    with clear_failure():
        days = upkeep.expire(lake.open(pyspark.spark_session), timedelta(days=config.retention_days))
    context.add_output_metadata({"expired_days": len(days), "days": ", ".join(map(str, days)) or "none"})


@dg.op(pool=SESSIONS_POOL)
def compact_session_dates(
    context: dg.OpExecutionContext, pyspark: SparkResource, lake: LakeResource, session_rule: SessionRuleResource
) -> None:
    """Rewrite event dates that left the window into few sorted files, then delete files nobody can read any more."""
    with clear_failure():
        dates = upkeep.compact(lake.open(pyspark.spark_session), session_rule.lateness_days)
    context.add_output_metadata({"compacted_dates": len(dates), "dates": ", ".join(map(str, dates)) or "none"})


@dg.op(pool=SESSIONS_POOL)
def rebuild_all_sessions(
    context: dg.OpExecutionContext, pyspark: SparkResource, lake: LakeResource, session_rule: SessionRuleResource
) -> None:
    """Compute all sessions anew from the events of the table, under the rule of the settings, in one commit."""
    with clear_failure():
        rebuilt = upkeep.rebuild(lake.open(pyspark.spark_session), session_rule.rule)
    before = {f"before/{name}": number for name, number in dataclasses.asdict(rebuilt.before).items()}
    after = {f"after/{name}": number for name, number in dataclasses.asdict(rebuilt.after).items()}
    context.add_output_metadata({**before, **after, "delta_version": rebuilt.version})


@dg.job(description="Keeps raw events and quarantine for two weeks behind the newest applied day.")
def expire_raw() -> None:
    """Wire the one step."""
    expire_raw_days()


@dg.job(description="Makes old dates of ods_sessions quick to read: few files, sorted, without deleted rows.")
def compact_sessions() -> None:
    """Wire the one step."""
    compact_session_dates()


@dg.job(description="Builds ods_sessions anew from its own events. Run it once after timeout or actions were changed.")
def rebuild_sessions() -> None:
    """Wire the one step."""
    rebuild_all_sessions()


JOBS = [expire_raw, compact_sessions, rebuild_sessions]

# On from the start: raw events are kept two weeks unless somebody decides otherwise.
SCHEDULES = [
    dg.ScheduleDefinition(job=job, cron_schedule=at, default_status=dg.DefaultScheduleStatus.RUNNING)
    for job, at in ((expire_raw, "0 3 * * *"), (compact_sessions, "30 3 * * *"))
]
