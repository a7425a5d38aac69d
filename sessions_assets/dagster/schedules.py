"""The schedules: when the jobs beside the daily flow start.

Must not know what a job does.
"""

import dagster as dg

from sessions_assets.dagster.jobs import compact_sessions, expect_arrival, expire_raw
from sessions_assets.settings import Settings


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return the schedules: expiry and compaction each night, and the daily check for arrival at the due hour.

    Expiry and compaction are on by default. The check for arrival is off, so that nobody gets an alert they did not ask
    for.
    """
    on, off = dg.DefaultScheduleStatus.RUNNING, dg.DefaultScheduleStatus.STOPPED
    return [
        dg.ScheduleDefinition(job=expire_raw, cron_schedule="0 3 * * *", default_status=on),
        dg.ScheduleDefinition(job=compact_sessions, cron_schedule="30 3 * * *", default_status=on),
        dg.ScheduleDefinition(
            job=expect_arrival,
            cron_schedule=f"0 {settings.due_hour} * * *",
            execution_timezone="UTC",
            default_status=off,
        ),
    ]
