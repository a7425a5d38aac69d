"""The jobs beside the daily flow: what they do, what they report, and when they start."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from sessions_assets.definitions import build_definitions
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import all_sessions
from sessions_assets.settings import Settings
from sessions_assets_tests.deployment import FIRST, LAST, Deployment, failure_of, metadata
from sessions_assets_tests.tables import day, event, session_rows, stored_rows, write_batches


@pytest.mark.long
def test_the_jobs_beside_the_daily_flow(sample: Deployment, spark: SparkSession, tmp_path: Path) -> None:
    """Another rule is refused until the rebuild; expiry and compaction report what they did, and are idempotent."""
    shutil.copytree(sample.folder, tmp_path / "lake")
    deployment = Deployment(spark, tmp_path / "lake", timeout=timedelta(seconds=60))
    assert "-j rebuild_sessions" in failure_of(deployment.materialize(LAST, only=["ods_sessions"]))

    rebuilt = deployment.start("rebuild_sessions")
    assert (rebuilt["before/events"], rebuilt["before/sessions"], rebuilt["before/empty"]) == (9675, 1576, 457)
    assert (rebuilt["after/events"], rebuilt["after/sessions"] > 1576, rebuilt["after/empty"] > 457) == (
        9675,
        True,
        True,
    )
    assert deployment.materialize(LAST, only=["ods_sessions"]).success
    bulk = all_sessions(deployment.lake.read(RAW_EVENTS), SessionRule(timeout=timedelta(seconds=60)))
    table = stored_rows(deployment.lake)
    assert table == session_rows(bulk)

    expired = {"expired_days": 2, "days": "2025-03-10, 2025-03-11"}
    assert deployment.start("expire_raw", {"retention_days": 11}) == expired
    assert deployment.start("expire_raw", {"retention_days": 11}) == {"expired_days": 0, "days": "none"}
    assert "cannot be landed or applied again" in failure_of(deployment.materialize(FIRST))
    assert deployment.start("compact_sessions")["compacted_dates"] == 0
    assert stored_rows(deployment.lake) == table


def test_which_schedules_are_on() -> None:
    """Expiry and compaction each night; the check for arrival at the due hour, once somebody turns it on."""
    definitions = build_definitions(Settings(due_hour=7))
    schedules = {s.job_name: (s.cron_schedule, s.default_status) for s in definitions.schedules or []}
    assert schedules == {
        "expire_raw": ("0 3 * * *", dg.DefaultScheduleStatus.RUNNING),
        "compact_sessions": ("30 3 * * *", dg.DefaultScheduleStatus.RUNNING),
        "expect_arrival": ("0 7 * * *", dg.DefaultScheduleStatus.STOPPED),
    }


def test_the_checks_of_a_day_are_a_job(sample: Deployment) -> None:
    """All checks of both assets, and nothing else."""
    done = sample.run_job("check_days", tags={"dagster/partition": f"{FIRST}"})
    assert done.success
    checked = {evaluation.asset_check_key for evaluation in done.get_asset_check_evaluations()}
    assert checked == sample.definitions.resolve_asset_graph().asset_check_keys
    assert {evaluation.partition for evaluation in done.get_asset_check_evaluations()} == {"2025-03-10"}
    assert done.get_asset_materialization_events() == []


def test_the_whole_table_is_checked(sample: Deployment, spark: SparkSession, tmp_path: Path) -> None:
    """Every row is judged; one that breaks the rule fails the job, whose metadata shows it."""
    assert sample.start("check_sessions") == {"rows_judged": 9675, "sessions_judged": 1576}
    shutil.copytree(sample.folder, tmp_path / "lake")
    deployment = Deployment(spark, tmp_path / "lake")
    table = DeltaTable.forPath(spark, deployment.lake.path(ODS_SESSIONS))
    table.update("user_id = '1' AND event_id = 'z'", {"session_start": "timestamp", "session_id": "'odd'"})
    result = deployment.run_job("check_sessions")
    assert "1 rows native_events_follow_actions" in failure_of(result)
    (failed,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    (row,) = failed.user_failure_data.metadata["session_id_is_its_parts"].records
    assert (row.data["event_id"], row.data["session_id"]) == ("z", "odd")


def test_a_preview_shows_what_the_materialization_then_does(spark: SparkSession, tmp_path: Path) -> None:
    """A late action joins two sessions, and a day loses an event: shown first without writing, then applied."""
    landing = tmp_path / "landing"
    write_batches(landing, {day(0): [event("a", "10:00"), event("x", "10:02"), event("b", "10:08")], day(1): []})
    deployment = Deployment(spark, tmp_path / "lake", landing)
    assert deployment.materialize(day(0), day(1)).success
    write_batches(landing, {day(1): [event("c", "10:04")], day(0): [event("a", "10:00"), event("b", "10:08")]})
    rows, version = stored_rows(deployment.lake), deployment.lake.version(ODS_SESSIONS)
    ten, eight = "2025-03-10 10:00:00", "2025-03-10 10:08:00"

    joined = deployment.start("preview_day", day=day(1))
    lost = deployment.start("preview_day", day=day(0))

    assert [tuple(record.data.values()) for record in joined["sessions"].records] == [
        ("u", "I", "NULL", ten, "1", "0", "0"),
        ("u", "I", eight, ten, "0", "1", "0"),
    ]
    assert [tuple(record.data.values()) for record in lost["sessions"].records] == [
        ("u", "I", ten, "NULL", "0", "0", "1")
    ]
    assert (joined["sessions_touched"], lost["sessions_touched"]) == (2, 1)
    assert (stored_rows(deployment.lake), deployment.lake.version(ODS_SESSIONS)) == (rows, version)
    for arrival, shown in ((day(1), joined), (day(0), lost)):
        done = metadata(deployment.materialize(arrival), "ods_sessions")[arrival.isoformat()]
        numbers = [name for name in shown if name.startswith("run/")]
        assert {name: done[name] for name in numbers} == {name: shown[name] for name in numbers}
    nothing = deployment.start("preview_day", day=day(1))
    assert (nothing["sessions_touched"], nothing["sessions"].records, nothing["run/rows_changed"]) == (0, [], 0)


def test_a_preview_of_a_missing_batch_fails_with_its_path(sample: Deployment) -> None:
    absent = date(2025, 3, 24)
    assert "no batch of 2025-03-24 in" in failure_of(sample.run_job("preview_day", day=absent))


def test_the_check_for_arrival_names_the_step_that_is_missing(spark: SparkSession, tmp_path: Path) -> None:
    """Not delivered, delivered but not landed, landed but not applied, applied; without a day it is today."""
    landing, first = tmp_path / "landing", {"day": "2025-03-10"}
    landing.mkdir()
    deployment = Deployment(spark, tmp_path / "lake", landing)

    def failure() -> str:
        return failure_of(deployment.run_job("expect_arrival", first))

    assert "no batch of 2025-03-10 in" in failure()
    write_batches(landing, {day(0): [event("a", "10:00")]})
    assert "is in the landing as 2025-03-10.csv but has not landed" in failure()
    assert deployment.materialize(day(0), only=["raw_events"]).success
    assert "has landed but ods_sessions has not applied it" in failure()
    assert deployment.materialize(day(0), only=["ods_sessions"]).success
    assert deployment.start("expect_arrival", first) == {"source": "2025-03-10.csv", "rows_delivered": 1}
    today = datetime.now(UTC).date()
    assert f"no batch of {today} in" in failure_of(deployment.run_job("expect_arrival"))
