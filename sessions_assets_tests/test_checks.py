"""The asset checks of raw_events: each day has its own state, and each check has a table on which it fails."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from sessions_assets.tables import RAW_EVENTS
from sessions_assets_tests.reference import Event
from sessions_assets_tests.tables import at, day, event, write_batches
from sessions_assets_tests.test_assets import Deployment

CHECKS = ("conservation", "quarantine_rate", "batch_not_empty")
GOOD, BAD = "SUCCEEDED", "FAILED"
DAYS = [day(0), day(1), day(2)]


def states(deployment: Deployment, check: str) -> dict[date, str]:
    """Give the state that the UI shows of each day that has one, and that it is about the newest materialization."""
    key = dg.AssetCheckKey(dg.AssetKey("raw_events"), check)
    found = deployment.instance.event_log_storage.get_asset_check_partition_info([key])
    of_days = [state for state in found if state.partition_key]
    assert all(s.latest_target_materialization_storage_id == s.latest_materialization_storage_id for s in of_days)
    return {date.fromisoformat(str(s.partition_key)): s.latest_execution_status.value for s in of_days}


def check_again(deployment: Deployment, arrival: date) -> None:
    """Run the checks of a day alone."""
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    keys = frozenset(dg.AssetCheckKey(dg.AssetKey("raw_events"), check) for check in CHECKS)
    alone = job.get_subset(asset_selection=frozenset(), asset_check_selection=keys)
    alone.execute_in_process(instance=deployment.instance, partition_key=arrival.isoformat(), raise_on_error=False)


@pytest.fixture
def deployment(spark: SparkSession, tmp_path: Path) -> Deployment:
    """Three days landed in one run: a good one, an empty one, one of whose two rows one was refused."""
    bad = Event("", "a", "I", at("10:00"))
    write_batches(tmp_path / "landing", {day(0): [event("a", "10:00")], day(1): [], day(2): [event("b", "10:00"), bad]})
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    assert deployment.materialize(day(0), day(2), only=["raw_events"]).success
    return deployment


def test_each_day_of_a_range_has_its_own_state(deployment: Deployment) -> None:
    """A warning is shown of its own day alone, and stops nothing."""
    assert states(deployment, "conservation") == dict.fromkeys(DAYS, GOOD)
    assert states(deployment, "quarantine_rate") == {day(0): GOOD, day(1): GOOD, day(2): BAD}
    assert states(deployment, "batch_not_empty") == {day(0): GOOD, day(1): BAD, day(2): GOOD}


def test_rows_that_went_missing_are_found_by_the_checks_alone(deployment: Deployment) -> None:
    lake = deployment.lake
    lake.replace_days(RAW_EVENTS, [day(0)], lake.read_days(RAW_EVENTS, [day(0)]).where("false"))
    check_again(deployment, day(0))
    assert states(deployment, "conservation") == {day(0): BAD, day(1): GOOD, day(2): GOOD}


def test_a_day_without_a_batch_is_a_warning_of_its_own(deployment: Deployment) -> None:
    """In a range run such a day is passed over; it has no rows to lose, and is not left as planned for ever (S20)."""
    assert deployment.materialize(day(2), day(4), only=["raw_events"]).success
    days = [*DAYS, day(3), day(4)]
    assert states(deployment, "conservation") == dict.fromkeys(days, GOOD)
    assert states(deployment, "batch_not_empty") == dict(zip(days, [GOOD, BAD, GOOD, BAD, BAD], strict=True))
