"""Everything that knows Dagster: resources, assets, checks, jobs, schedules, sensors, what the UI shows."""
