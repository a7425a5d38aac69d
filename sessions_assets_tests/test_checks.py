"""The asset checks: each day has its own state, in single-day and in range runs, and each check has a failing case.

Violations of the rule in stored rows are tested in `test_violations`, the arithmetic of findings in `test_audit`.
"""

import logging
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.rule.violations import VIOLATIONS
from sessions_assets_tests.deployment import Deployment, failure_of
from sessions_assets_tests.reference import Event
from sessions_assets_tests.tables import at, day, event, stored_rows, write_batches

CHECKS = {
    "raw_events": ["conservation", "quarantine_rate", "batch_not_empty", "user_actions_found", "attributes_drift"],
    "ods_sessions": [*VIOLATIONS, "window_complete", "late_share"],
}
GOOD, BAD = "SUCCEEDED", "FAILED"
DAYS = [day(0), day(1), day(2)]
MARKUP = "<script>alert(1)</script>"


def states(deployment: Deployment, check: str) -> dict[date, str]:
    """Return the state that the UI shows for each day, and assert that it is about the newest materialization."""
    (asset,) = (asset for asset, checks in CHECKS.items() if check in checks)
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    found = deployment.instance.event_log_storage.get_asset_check_partition_info([key])
    of_days = [state for state in found if state.partition_key]
    assert all(s.latest_target_materialization_storage_id == s.latest_materialization_storage_id for s in of_days)
    return {date.fromisoformat(str(s.partition_key)): s.latest_execution_status.value for s in of_days}


def of_the_whole(deployment: Deployment, asset: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Run all checks of an asset as the UI does, without a day; return the evaluation of each."""
    check_again(deployment, None, asset)
    found = {}
    for check in CHECKS[asset]:
        key = dg.AssetCheckKey(dg.AssetKey(asset), check)
        records = deployment.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        evaluations = [record.event.dagster_event.asset_check_evaluation_data for record in records if record.event]
        found[check] = next(evaluation for evaluation in evaluations if evaluation.partition is None)
    return found


def check_again(deployment: Deployment, arrival: date | None, asset: str = "raw_events") -> dg.ExecuteInProcessResult:
    """Run the checks of a day alone; None: without a day, as the UI does."""
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    keys = frozenset(dg.AssetCheckKey(dg.AssetKey(asset), check) for check in CHECKS[asset])
    alone = job.get_subset(asset_selection=frozenset(), asset_check_selection=keys)
    return alone.execute_in_process(
        instance=deployment.instance, partition_key=arrival.isoformat() if arrival else None, raise_on_error=False
    )


@pytest.fixture
def deployment(spark: SparkSession, tmp_path: Path) -> Deployment:
    """Three days landed in one run: a good one, an empty one, and one with one of two rows refused."""
    bad = Event("", "a", "I", at("10:00"))
    write_batches(tmp_path / "landing", {day(0): [event("a", "10:00")], day(1): [], day(2): [event("b", "10:00"), bad]})
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    assert deployment.materialize(day(0), day(2), only=["raw_events"], checks=True).success
    return deployment


def test_each_day_of_a_range_has_its_own_state(deployment: Deployment) -> None:
    """A warning belongs to its own day alone, and stops nothing."""
    assert states(deployment, "conservation") == dict.fromkeys(DAYS, GOOD)
    assert states(deployment, "quarantine_rate") == {day(0): GOOD, day(1): GOOD, day(2): BAD}
    assert states(deployment, "batch_not_empty") == {day(0): GOOD, day(1): BAD, day(2): GOOD}


def test_rows_that_went_missing_are_found_by_the_checks_alone(deployment: Deployment) -> None:
    lake = deployment.lake
    lake.replace_days(RAW_EVENTS, [day(0)], lake.read_days(RAW_EVENTS, [day(0)]).where("false"))
    check_again(deployment, day(0))
    assert states(deployment, "conservation") == {day(0): BAD, day(1): GOOD, day(2): GOOD}
    whole = of_the_whole(deployment, "raw_events")["conservation"]
    assert (whole.passed, whole.metadata["failed"].value) == (False, "2025-03-10")


def test_a_day_without_a_batch_is_a_warning_of_its_own(deployment: Deployment) -> None:
    """A range run skips such a day; it has no rows to lose, and does not stay planned for ever (R20)."""
    assert deployment.materialize(day(2), day(4), only=["raw_events"], checks=True).success
    days = [*DAYS, day(3), day(4)]
    assert states(deployment, "conservation") == dict.fromkeys(days, GOOD)
    assert states(deployment, "batch_not_empty") == dict(zip(days, [GOOD, BAD, GOOD, BAD, BAD], strict=True))


def results(run: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """Return the evaluation of each check in a single-day run."""
    return {evaluation.check_name: evaluation for evaluation in run.get_asset_check_evaluations()}


def test_a_range_with_one_bad_day_shows_which(spark: SparkSession, tmp_path: Path) -> None:
    """A duplicate row belongs to one day: the run fails, that day fails and the others pass.

    Ids that look like SQL, markup or paths stay what they are, from the batch to the table that the check shows.
    """
    users = ("'; DROP TABLE ods_sessions; --", MARKUP, "../../etc/passwd")
    batches = {day(n): [event("a", "10:00", n, user=u), event("x", "10:01", n, user=u)] for n, u in enumerate(users)}
    write_batches(tmp_path / "landing", batches)
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    assert deployment.materialize(day(0), day(2), checks=True).success
    for check in CHECKS["ods_sessions"]:
        assert states(deployment, check) == dict.fromkeys(DAYS, GOOD)
    assert {row.user_id for row in stored_rows(deployment.lake)} == {*users}
    stored = deployment.lake.read(ODS_SESSIONS)
    stored.where((F.col("user_id") == MARKUP) & (F.col("event_id") == "x")).write.format("delta").mode("append").save(
        deployment.lake.path(ODS_SESSIONS)
    )

    assert not deployment.materialize(day(0), day(2), checks=True).success

    assert states(deployment, "one_row_per_event") == {day(0): GOOD, day(1): BAD, day(2): GOOD}
    for check in CHECKS["ods_sessions"][1:]:
        assert states(deployment, check) == dict.fromkeys(DAYS, GOOD)
    alone = results(check_again(deployment, day(1), "ods_sessions"))
    twice = alone.pop("one_row_per_event")
    assert (twice.passed, twice.blocking, twice.metadata["rows"].value) == (False, True, 1)
    (shown,) = twice.metadata["examples"].value.records
    assert shown.data == {
        "user_id": MARKUP, "event_id": "x", "product_code": "I", "timestamp": "2025-03-11 10:01:00",
        "is_user_action": "False", "session_id": f"{MARKUP}#I#2025-03-11 10:00:00",
        "session_start": "2025-03-11 10:00:00", "first_updated_at": "2025-03-11", "pdate": "2025-03-11",
    }  # fmt: skip
    assert all(evaluation.passed for evaluation in alone.values())
    whole = of_the_whole(deployment, "ods_sessions")
    assert {name for name, evaluation in whole.items() if not evaluation.passed} == {"one_row_per_event"}
    assert whole["one_row_per_event"].metadata["rows_judged"].value == 7
    assert states(deployment, "one_row_per_event") == {day(0): GOOD, day(1): BAD, day(2): GOOD}


def test_actions_that_nobody_meets_are_told(spark: SparkSession, tmp_path: Path) -> None:
    """Ids are exact, so a blank after the comma makes another event: each such day warns, and a line says which ids."""
    header, event_line = "user_id,event_id,product_code,timestamp\n", "u,{},I,2025-03-1{} 10:00:0{}\n"
    ids = {0: ["a", "x"], 1: [" a", " a", "x", "\u00a0it's\t"], 2: ["x", "A"], 3: []}
    (tmp_path / "landing").mkdir()
    for number, delivered in ids.items():
        lines = "".join(event_line.format(event_id, number, second) for second, event_id in enumerate(delivered))
        (tmp_path / "landing" / f"{day(number)}.csv").write_text(header + lines)
    deployment = Deployment(
        spark, tmp_path / "lake", tmp_path / "landing", user_actions=frozenset({"a", "it's"}), first_day=day(0)
    )

    result = deployment.materialize(day(0), day(3), only=["raw_events"], checks=True)

    assert result.success
    expected = {day(0): GOOD, day(1): BAD, day(2): BAD, day(3): GOOD}
    assert states(deployment, "user_actions_found") == expected
    records = deployment.instance.all_logs(result.run_id)
    lines_of_log = [record.user_message for record in records if record.level == logging.WARNING]
    assert [line for line in lines_of_log if "2025-03-1" in line] == [
        (
            "2025-03-11: none of 4 events is a user action; event ids differ from user actions by white space alone, "
            "so are none: 2 rows ' a', 1 rows \"\\xa0it's\\t\""
        ),
        "2025-03-12: none of 2 events is a user action",
    ]
    whole = of_the_whole(deployment, "raw_events")["user_actions_found"]
    assert (whole.passed, whole.metadata["failed"].value) == (False, "2025-03-11, 2025-03-12")
    every = Deployment(spark, tmp_path / "lake", tmp_path / "landing", user_actions=None, first_day=day(0))
    assert of_the_whole(every, "raw_events")["user_actions_found"].passed


def test_attributes_that_come_and_go_are_told(spark: SparkSession, tmp_path: Path) -> None:
    """Each day is compared with its own window; names that look like SQL or markup stay what they are."""
    sql = "'; DROP TABLE raw_events; --"
    # No batch on day 2, no event on day 3.
    names = {0: ["os"], 1: ["os", MARKUP, sql], 3: ["os", "app"], 4: ["os", "app"]}
    (tmp_path / "landing").mkdir()
    for number, others in names.items():
        values = [] if number == 3 else [f"u,a,I,2025-03-1{number} 10:00:00{',1' * len(others)}\n"]
        header = ",".join(["user_id,event_id,product_code,timestamp", *others]) + "\n"
        (tmp_path / "landing" / f"{day(number)}.csv").write_text("".join([header, *values]))
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing", lateness_days=3, first_day=day(0))

    assert deployment.materialize(day(0), day(4), only=["raw_events"], checks=True).success

    expected = {day(0): GOOD, day(1): BAD, day(2): GOOD, day(3): GOOD, day(4): BAD}
    assert states(deployment, "attributes_drift") == expected
    alone = results(check_again(deployment, day(1)))["attributes_drift"]
    assert (alone.passed, alone.blocking, alone.severity) == (False, False, dg.AssetCheckSeverity.WARN)
    assert [record.data for record in alone.metadata["examples"].value.records] == [
        {"name": sql, "change": "new", "days_with_it": "0 of 1"},
        {"name": MARKUP, "change": "new", "days_with_it": "0 of 1"},
    ]
    later = results(check_again(deployment, day(4)))["attributes_drift"]
    assert later.metadata["compared_with"].value == "2025-03-11"
    assert [[*record.data.values()] for record in later.metadata["examples"].value.records] == [
        ["app", "new", "0 of 1"], [sql, "missing", "1 of 1"], [MARKUP, "missing", "1 of 1"],
    ]  # fmt: skip
    whole = of_the_whole(deployment, "raw_events")["attributes_drift"]
    assert (whole.passed, whole.metadata["failed"].value) == (False, "2025-03-11, 2025-03-14")


def test_late_rows_and_missing_days_are_warnings(spark: SparkSession, tmp_path: Path) -> None:
    """More late rows than the share of the settings, and a window with missing days: warnings that stop nothing."""
    batches = {day(0): [event("a", "10:00")], day(2): [event("b", "10:00", 2), event("c", "10:00", 1)]}
    write_batches(tmp_path / "landing", batches)
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing", late_warn_share=0.4)
    assert deployment.materialize(day(0)).success
    checked = results(deployment.materialize(day(2), checks=True))
    late, window = checked["late_share"], checked["window_complete"]
    assert (late.passed, late.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert {name: late.metadata[name].value for name in ("share", "rows_late", "rows_accepted")} == {
        "share": 0.5, "rows_late": 1, "rows_accepted": 2,
    }  # fmt: skip
    assert (window.passed, window.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert window.metadata["missing"].value == "2025-03-11"
    assert {name for name, evaluation in checked.items() if not evaluation.passed} == {"late_share", "window_complete"}


@pytest.mark.long
def test_a_day_whose_raw_rows_have_expired_is_judged_by_what_is_stored(spark: SparkSession, tmp_path: Path) -> None:
    """Its batch is gone, so no event can be missing; its stored sessions are still judged."""
    write_batches(tmp_path / "landing", {day(0): [event("a", "10:00")], day(20): [event("a", "10:00", 20)]})
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    assert deployment.materialize(day(0), day(20)).success
    assert deployment.start("expire_raw")["days"] == "2025-03-10"
    alone = results(check_again(deployment, day(0), "ods_sessions"))
    assert {evaluation.passed for evaluation in alone.values()} == {True}
    assert alone["one_row_per_event"].metadata["rows_judged"].value == 2


def test_checks_before_the_first_run_name_the_missing_table(spark: SparkSession, tmp_path: Path) -> None:
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    assert "ods_sessions does not exist" in failure_of(check_again(deployment, day(0), "ods_sessions"))
