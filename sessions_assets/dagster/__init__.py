"""Everything that knows Dagster: resources, assets, checks, jobs, schedules, sensors, and what the UI shows."""
