"""A day that is asked for again is counted, and its work done again only where something has changed since."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from deltalake import DeltaTable as DeltaLake
from deltalake import QueryBuilder, write_deltalake
from pyspark.sql import SparkSession

from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import apply as apply_module
from sessions_assets.pipeline import land as land_module
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply, commit, landed_batch, plan_apply
from sessions_assets.pipeline.compute import compute
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.results import ApplyResult
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event
from sessions_assets_tests.tables import day, event, stored_rows, write_batches

RULE = SessionRule()
LANDED, HELD = "landed already: ", "applied already: "
FIRST = [event("a", "10:00"), event("b", "10:04"), event("b", "10:04"), event("", "10:05")]
SECOND = [event("c", "10:07"), event("x", "12:00", 1)]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the runs since the last call said of work that they left out."""
    caplog.set_level(logging.INFO, logger="sessions_assets")

    def lines() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [line for line in found if line.startswith((LANDED, HELD))]

    return lines


def run(lake: Lake, folder: Path, batches: dict[int, list[Event]], lateness_days: int = 5) -> ApplyResult:
    """Deliver batches, those that are not there already as they are; land and apply them in one run."""
    changed = {day(n): events for n, events in batches.items() if events}
    write_batches(folder / "landing", changed)
    days = [day(number) for number in batches]
    land(lake.spark, lake, Landing(str(folder / "landing")), days, lateness_days)
    return apply(lake.spark, lake, days, RULE)


@pytest.fixture(scope="module")
def two_days(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Landing and lake of two days, landed and applied one after the other."""
    folder = tmp_path_factory.mktemp("repeats")
    lake = Lake(spark, str(folder / "lake"))
    run(lake, folder, {0: FIRST})
    run(lake, folder, {1: SECOND})
    return folder


@pytest.fixture
def applied(two_days: Path, spark: SparkSession, tmp_path: Path) -> Lake:
    """A copy of them, to work on."""
    shutil.copytree(two_days, tmp_path, dirs_exist_ok=True)
    return Lake(spark, str(tmp_path / "lake"))


def test_a_day_that_is_held_is_counted_again_with_the_same_numbers(
    applied: Lake, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    landing = Landing(str(tmp_path / "landing"))
    tables = (RAW_EVENTS, RAW_QUARANTINE, ODS_SESSIONS)
    before = [applied.version(table) for table in tables]
    landed = land(applied.spark, applied, landing, [day(0)], 5)[day(0)]
    again = apply(applied.spark, applied, [day(0)], RULE)
    assert said() == [f"{LANDED}2025-03-10.csv", f"{HELD}2025-03-10"]
    assert (landed.rows_delivered, landed.rows_accepted, landed.quarantined, landed.late_by_days) == (
        4,
        3,
        {"blank_event_id": 1},
        {0: 3},
    )
    numbers = again.days[day(0)]
    assert (numbers.rows_accepted, numbers.events_first_seen, numbers.duplicates, numbers.rows_inserted) == (3, 2, 1, 0)
    assert again.rows == {"inserted": 0, "changed": 0, "removed": 0}
    assert [applied.version(table) for table in tables] == before


def test_of_a_range_only_the_days_that_changed_are_done_again(
    applied: Lake, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    again = run(applied, tmp_path, {0: [], 1: [*SECOND, event("a", "12:00", 1)], 2: [event("b", "10:11")]})
    assert said() == [f"{LANDED}2025-03-10.csv", f"{HELD}2025-03-10"]
    assert again.rows == {"inserted": 2, "changed": 1, "removed": 0}
    assert [d.events_first_seen for d in again.days.values()] == [2, 3, 1]
    whole = [row for row in stored_rows(applied) if row.session_start]
    assert [row.event_id for row in whole] == ["a", "a", "b", "b", "c", "x"]


def test_another_lateness_lands_and_applies_again(applied: Lake, tmp_path: Path, said: Callable[[], list[str]]) -> None:
    run(applied, tmp_path, {0: []}, lateness_days=6)
    assert said() == []


def test_other_code_lands_and_applies_again(
    applied: Lake, tmp_path: Path, said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (land_module, apply_module):
        monkeypatch.setattr(module, "code_version", lambda: "another")
    run(applied, tmp_path, {0: []})
    assert said() == []


def test_rows_that_are_not_there_are_landed_again(applied: Lake, tmp_path: Path, said: Callable[[], list[str]]) -> None:
    applied.delete_days(RAW_QUARANTINE, [day(0)])
    land(applied.spark, applied, Landing(str(tmp_path / "landing")), [day(0)], 5)
    assert (said(), applied.count_rows(RAW_QUARANTINE, [day(0)])) == ([], {day(0): 1})


def damaged(lake: Lake) -> None:
    DeltaTable.forPath(lake.spark, lake.path(ODS_SESSIONS)).update("event_id = 'b'", {"session_id": "'lost'"})
    DeltaTable.forPath(lake.spark, lake.path(ODS_SESSIONS)).delete("event_id = 'a'")


def test_what_somebody_else_wrote_is_mended_by_applying_again(
    applied: Lake, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    whole = stored_rows(applied)
    damaged(applied)
    assert run(applied, tmp_path, {0: []}).rows == {"inserted": 1, "changed": 0, "removed": 0}
    assert said() == [f"{LANDED}2025-03-10.csv"]
    assert len(stored_rows(applied)) == len(whole)


def test_a_commit_of_another_engine_is_somebody_elses(
    applied: Lake, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    """delta-rs gives its commits no id."""
    path = applied.path(ODS_SESSIONS)
    twice = QueryBuilder().register("ods", DeltaLake(path)).execute("SELECT * FROM ods WHERE event_id = 'x'").read_all()
    write_deltalake(DeltaLake(path), twice, mode="append")
    run(applied, tmp_path, {0: []})
    assert said() == [f"{LANDED}2025-03-10.csv"]
    run(applied, tmp_path, {0: []})
    assert said() == [f"{LANDED}2025-03-10.csv", f"{HELD}2025-03-10"]


def test_what_other_code_has_applied_is_applied_again(
    applied: Lake, said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back under the code that had landed the day, it is not the one that has applied it."""
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(apply_module, "code_version", lambda: "bad")
        apply(applied.spark, applied, [day(0)], RULE)
    apply(applied.spark, applied, [day(0)], RULE)
    assert said() == []
    apply(applied.spark, applied, [day(0)], RULE)
    assert said() == [f"{HELD}2025-03-10"]


def test_a_day_that_lands_anew_while_it_is_applied_is_read_as_it_was(applied: Lake, tmp_path: Path) -> None:
    """The new batch has an event that is stored and is before all that the old one can touch."""
    write_batches(tmp_path / "landing", {day(2): [event("b", "13:00", 2)]})
    land(applied.spark, applied, Landing(str(tmp_path / "landing")), [day(2)], 5)
    plan = plan_apply(applied, [day(2)], RULE)
    write_batches(tmp_path / "landing", {day(2): [event("b", "13:00", 2), FIRST[0]]})
    land(applied.spark, applied, Landing(str(tmp_path / "landing")), [day(2)], 5)
    changes = compute(applied.spark, plan, landed_batch(applied.spark, plan))
    assert commit(applied.spark, applied, plan, changes).rows == {"inserted": 1, "changed": 0, "removed": 0}
    assert applied.ledger.entries()[day(2)].applied_at is None
    assert apply(applied.spark, applied, [day(2)], RULE).rows == {"inserted": 0, "changed": 0, "removed": 0}
    assert [row.event_id for row in stored_rows(applied)].count("a") == 1


def test_a_table_that_was_taken_away_is_filled_again(applied: Lake, said: Callable[[], list[str]]) -> None:
    """The versions of the new table reach those of the old one; its commits are others."""
    whole = stored_rows(applied)
    folder = Path(applied.path(ODS_SESSIONS))
    folder.rename(folder.with_name("gone"))
    for number in (1, 0):
        apply(applied.spark, applied, [day(number)], RULE)
    assert (said(), stored_rows(applied)) == ([], whole)


def test_upkeep_is_no_reason_to_apply_again(applied: Lake, said: Callable[[], list[str]]) -> None:
    maintain.compact(applied.spark, applied, -1)
    apply(applied.spark, applied, [day(0)], RULE)
    assert said() == [f"{HELD}2025-03-10"]
