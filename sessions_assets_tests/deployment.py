"""A deployment under test: real definitions, a landing, a lake and its own instance; and the results of its runs."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pyspark.sql import SparkSession

from sessions_assets.dagster.internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sessions_assets.definitions import build_definitions
from sessions_assets.settings import Settings
from sessions_assets_tests.lakes import Lake

BATCHES = Path(__file__).parent.parent / "batches"
FIRST, LAST = date(2025, 3, 10), date(2025, 3, 23)
DAYS = [FIRST + timedelta(days=number) for number in range(14)]


class Deployment:
    """Definitions for one landing and one lake, with a Dagster instance of their own."""

    def __init__(
        self,
        spark: SparkSession,
        lake: Path,
        landing: Path = BATCHES,
        instance: dg.DagsterInstance | None = None,
        **settings: Any,  # noqa: ANN401 - passed on
    ) -> None:
        self.folder = lake
        self.lake = Lake(spark, str(lake))
        self.definitions = build_definitions(Settings(landing=str(landing), lake=str(lake), **settings))
        self.instance = instance or dg.DagsterInstance.ephemeral(tempdir=str(lake.parent))

    def materialize(
        self,
        first: date,
        last: date | None = None,
        *,
        only: Sequence[str] = ("raw_events", "ods_sessions"),
        checks: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """Materialize one day, or a range of days in one run; without the checks, which take a third of the time."""
        job = self.definitions.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection=frozenset(dg.AssetKey(name) for name in only),
            asset_check_selection=None if checks else frozenset(),
        )
        if last is None:
            return job.execute_in_process(instance=self.instance, partition_key=first.isoformat(), raise_on_error=False)
        return job.execute_in_process(instance=self.instance, tags=_range(first, last), raise_on_error=False)

    def check_range(self, first: date, last: date, checks: frozenset[dg.AssetCheckKey]) -> dg.ExecuteInProcessResult:
        """Run asset checks alone, for a range of days."""
        job = self.definitions.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection=frozenset(), asset_check_selection=checks
        )
        return job.execute_in_process(instance=self.instance, tags=_range(first, last), raise_on_error=False)

    def run_job(
        self,
        job: str,
        config: dict[str, Any] | None = None,
        day: date | None = None,
        tags: dict[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job other than the assets' own."""
        resolved = self.definitions.resolve_job_def(job)
        step = resolved.nodes[0]
        return resolved.execute_in_process(
            instance=self.instance,
            run_config={"ops": {step.name: {"config": config}}} if config else {},
            partition_key=day.isoformat() if day else None,
            tags=tags,
            raise_on_error=False,
        )

    def start(self, job: str, config: dict[str, Any] | None = None, day: date | None = None) -> dict[str, Any]:
        """Run a job, assert that it succeeds, and return its output metadata."""
        result = self.run_job(job, config, day)
        assert result.success
        (output,) = (event for event in result.all_events if event.is_successful_output)
        return {name: value.value for name, value in output.step_output_data.metadata.items()}


def _range(first: date, last: date) -> dict[str, str]:
    return {ASSET_PARTITION_RANGE_START_TAG: f"{first}", ASSET_PARTITION_RANGE_END_TAG: f"{last}"}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, dict[str, Any]]:
    """Return the metadata of each day that a run materialized."""
    return {
        m.partition: {name: value.value for name, value in m.metadata.items()}
        for m in result.asset_materializations_for_node(asset)
    }


def recorded(deployment: Deployment, asset: str) -> dict[str | None, dict[str, Any]]:
    """Return the metadata of the newest materialization of each day, in the order in which they were materialized."""
    found = deployment.instance.fetch_materializations(dg.AssetKey(asset), limit=1000, ascending=True).records
    return {
        record.partition_key: {name: value.value for name, value in record.asset_materialization.metadata.items()}
        for record in found
        if record.asset_materialization is not None
    }


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Return the description of the failure of a run."""
    assert not result.success
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data is not None
    return str(data.user_failure_data.description)
