"""The schedules: when the jobs beside the daily flow are started.

Must not know what a job does.
"""

import dagster as dg

from sessions_assets.dagster.jobs import compact_sessions, expect_arrival, expire_raw
from sessions_assets.settings import Settings


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Make the schedules: two that are on from the start, and the daily look for the batch at the hour of the settings.

    Raw events are kept two weeks unless somebody decides otherwise. Nobody is alarmed before they ask for it.
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
