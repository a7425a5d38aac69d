"""What Dagster loads: assets, checks, jobs, schedules, sensors and resources, built for the settings."""

import dagster as dg

from sessions_assets.dagster.assets import build_assets
from sessions_assets.dagster.checks import build_checks
from sessions_assets.dagster.jobs import build_jobs
from sessions_assets.dagster.resources import build_resources
from sessions_assets.dagster.schedules import build_schedules
from sessions_assets.dagster.sensors import build_sensors
from sessions_assets.settings import Settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return everything that Dagster loads, for these settings."""
    return dg.Definitions(
        assets=build_assets(settings),
        asset_checks=build_checks(settings),
        jobs=build_jobs(settings),
        schedules=build_schedules(settings),
        sensors=build_sensors(settings),
        resources=build_resources(settings),
        # One process and so one JVM per run: a JVM for each step would cost more time than a day's work.
        executor=dg.in_process_executor,
    )


defs = build_definitions(Settings.from_environment())
