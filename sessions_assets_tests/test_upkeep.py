"""Maintenance changes no session: expiry (R21), compaction; and the rebuild under another rule (R22)."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from sessions_assets.lake import writes
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.ledger import ClosedDayError
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE, Table
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.inspections import inspect
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event
from sessions_assets_tests.tables import at, day, event, stored_rows, write_batches

RULE = SessionRule()


def run(lake: Lake, landing: Path, batches: Mapping[int, list[Event]]) -> None:
    """Deliver batches and apply them, in one run."""
    write_batches(landing, {day(number): events for number, events in batches.items()})
    days = [day(number) for number in batches]
    land(lake.spark, lake, Landing(str(landing)), days, LATENESS_DAYS)
    apply(lake.spark, lake, days, RULE)


def raw_days(lake: Lake) -> list[date]:
    return sorted({row[0] for row in lake.read(RAW_EVENTS).select("_updated_at").collect()})


def files_of(lake: Lake) -> int:
    return len(DeltaTable(lake.path(ODS_SESSIONS)).file_uris())


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


def test_raw_days_behind_the_retention_expire_and_are_refused(lake: Lake, landing: Path) -> None:
    """Two weeks before the newest applied day; quarantined rows expire too; ods_sessions keeps all (R21)."""
    bad = Event("", "a", "I", at("10:00"))
    run(lake, landing, {0: [event("a", "10:00"), bad], 1: [event("b", "10:00", 1)], 15: [event("c", "10:00", 15)]})
    before = stored_rows(lake)
    version = lake.version(ODS_SESSIONS)

    assert maintain.expire(lake.spark, lake) == [day(0)]

    assert raw_days(lake) == [day(1), day(15)]
    assert lake.count_rows(RAW_QUARANTINE, [day(0)]) == {day(0): 0}
    assert (stored_rows(lake), lake.version(ODS_SESSIONS)) == (before, version)
    assert lake.ledger.entries([day(0)])[day(0)].expired_at is not None
    refusal = r"2025-03-10 cannot be landed or applied again: .* raw events of days up to 2025-03-10 have expired"
    with pytest.raises(ClosedDayError, match=refusal):
        land(lake.spark, lake, Landing(str(landing)), [day(0)], LATENESS_DAYS)
    with pytest.raises(ClosedDayError, match=refusal):
        apply(lake.spark, lake, [day(0), day(1)], RULE)
    assert (stored_rows(lake), lake.version(ODS_SESSIONS)) == (before, version)
    raw_version = lake.version(RAW_EVENTS)
    assert maintain.expire(lake.spark, lake) == []
    assert lake.version(RAW_EVENTS) == raw_version


def test_a_day_that_has_expired_or_is_empty_can_be_judged(lake: Lake, landing: Path) -> None:
    """Days of which no table tells a time: nothing is judged, and nothing is wrong."""
    run(lake, landing, {0: [], 20: []})
    assert maintain.expire(lake.spark, lake) == []
    lake.ledger.expire(maintain.RETENTION)

    found = inspect(lake.spark, lake, [day(0), day(20)], RULE)

    assert [(inspection.rows_judged, inspection.broken) for inspection in found.values()] == [(0, {}), (0, {})]


@pytest.mark.long
def test_expiry_waits_for_days_that_are_not_applied(lake: Lake, landing: Path) -> None:
    """A pending day may lose an event that a newer day holds: that one must not have expired then (R17, R21)."""
    run(lake, landing, {0: [event("a", "10:00")], 1: [event("a", "10:00")], 20: []})
    write_batches(landing, {day(0): []})
    land(lake.spark, lake, Landing(str(landing)), [day(0)], LATENESS_DAYS)

    assert maintain.expire(lake.spark, lake) == []

    apply(lake.spark, lake, [day(0)], RULE)
    assert [(row.event_id, row.first_updated_at) for row in stored_rows(lake)] == [("a", day(1))]
    assert maintain.expire(lake.spark, lake) == [day(1)]


@pytest.mark.long
def test_an_old_day_that_never_came_is_loaded_and_closed(lake: Lake, landing: Path) -> None:
    """The first load of old history works; once applied it is closed, since newer days have expired (R21)."""
    run(lake, landing, {5: [event("b", "10:04", 5)], 20: []})
    assert maintain.expire(lake.spark, lake) == [day(5)]
    run(lake, landing, {4: [event("a", "10:00", 5)]})
    assert {row.session_start for row in stored_rows(lake)} == {at("10:00", 5)}
    with pytest.raises(ClosedDayError, match="2025-03-14 cannot be landed"):
        run(lake, landing, {4: []})
    assert maintain.expire(lake.spark, lake) == [day(4)]


@pytest.mark.long
def test_an_interrupted_landing_is_refused_until_it_is_repeated(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first and the last write to the ledger a day is not applied, and applying it is refused."""
    run(lake, landing, {0: [event("a", "10:00")], 20: []})
    write_batches(landing, {day(0): []})
    with monkeypatch.context() as failing:
        failing.setattr(lake.ledger, "record", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            land(lake.spark, lake, Landing(str(landing)), [day(0)], LATENESS_DAYS)

    assert maintain.expire(lake.spark, lake) == []
    with pytest.raises(LakeError, match=r"0 rows of 2025-03-10, but its landing was begun and has not ended"):
        apply(lake.spark, lake, [day(0)], RULE)
    run(lake, landing, {0: []})
    assert stored_rows(lake) == []


def test_compaction_keeps_the_rows_and_rewrites_the_files(lake: Lake, landing: Path) -> None:
    """Dates before the window: one file each, no deletion vector; a second run does nothing."""
    run(lake, landing, {0: [event("a", "10:00", user="u2"), event("b", "10:08", user="u1")]})
    run(lake, landing, {1: [event("c", "10:04", user="u1"), event("c", "10:00", 1)]})
    run(lake, landing, {6: [event("c", "10:00", 6)]})
    before, files = stored_rows(lake), files_of(lake)

    assert maintain.compact(lake.spark, lake, LATENESS_DAYS) == [day(0)]

    assert stored_rows(lake) == before
    assert files_of(lake) < files
    rewritten = lake.read(ODS_SESSIONS).where(f"pdate = DATE'{day(0)}'")
    assert [row.user_id for row in rewritten.select("user_id").collect()] == ["u1", "u1", "u2"]
    version = lake.version(ODS_SESSIONS)
    assert maintain.compact(lake.spark, lake, LATENESS_DAYS) == []
    assert lake.version(ODS_SESSIONS) == version


def test_compaction_without_a_table_does_nothing(lake: Lake) -> None:
    assert maintain.compact(lake.spark, lake, LATENESS_DAYS) == []
    assert maintain.expire(lake.spark, lake) == []


def test_rebuild_applies_another_rule_in_one_commit(lake: Lake, landing: Path) -> None:
    """All of ods_sessions from its own rows; columns stay NOT NULL; then runs must use the new rule (R22)."""
    run(lake, landing, {0: [event("a", "10:00"), event("x", "10:02"), event("b", "10:04")], 1: [event("a", "10:00")]})
    schema, version = lake.read(ODS_SESSIONS).schema, lake.version(ODS_SESSIONS)
    shorter = SessionRule(timeout=timedelta(seconds=60))
    with pytest.raises(LakeError, match="-j rebuild_sessions"):
        apply(lake.spark, lake, [day(1)], shorter)

    rebuilt = maintain.rebuild(lake.spark, lake, shorter)

    assert rebuilt == maintain.Rebuilt(maintain.Totals(3, 1, 0), maintain.Totals(3, 2, 1), version + 1)
    assert [(row.event_id, row.session_start, row.first_updated_at) for row in stored_rows(lake)] == [
        ("a", at("10:00"), day(0)),
        ("b", at("10:04"), day(0)),
        ("x", None, day(0)),
    ]
    assert lake.read(ODS_SESSIONS).schema == schema
    assert lake.properties(ODS_SESSIONS)["sessions.timeoutMicroseconds"] == "60000000"
    assert apply(lake.spark, lake, [day(1)], shorter).rows == {"inserted": 0, "changed": 0, "removed": 0}
    with pytest.raises(LakeError, match="-j rebuild_sessions"):
        apply(lake.spark, lake, [day(1)], RULE)
    by_product = SessionRule(timeout=timedelta(seconds=60), timeouts={"II": timedelta(seconds=61)})
    with pytest.raises(LakeError, match=r'ByProduct=\{\}, this run asks for .*ByProduct=\{"II": 61000000\}'):
        apply(lake.spark, lake, [day(1)], by_product)


def test_rebuild_without_a_table_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match="ods_sessions does not exist"):
        maintain.rebuild(lake.spark, lake, RULE)


@pytest.mark.long
def test_a_run_that_read_before_a_rebuild_writes_nothing(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its changes were computed under the old rule (R22)."""
    run(lake, landing, {0: [event("a", "10:00")]})
    write_batches(landing, {day(1): [event("b", "10:04")]})
    land(lake.spark, lake, Landing(str(landing)), [day(1)], LATENESS_DAYS)
    commit = writes.commit_changes

    def rebuild_first(*arguments: object) -> object:
        maintain.rebuild(lake.spark, lake, SessionRule(timeout=timedelta(seconds=60)))
        return commit(*arguments)

    monkeypatch.setattr(writes, "commit_changes", rebuild_first)
    with pytest.raises(LakeError, match=r"another run has written .*ods_sessions since version 1"):
        apply(lake.spark, lake, [day(1)], RULE)
    assert [row.event_id for row in stored_rows(lake)] == ["a"]


@pytest.mark.long
def test_a_rebuild_just_before_the_version_is_read_is_noticed(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule that is compared is that of the version whose rows are read (R22)."""
    run(lake, landing, {0: [event("a", "10:00"), event("b", "10:04")]})
    find = lake.find

    def rebuild_first(table: Table) -> Snapshot | None:
        if table == ODS_SESSIONS:
            monkeypatch.undo()
            maintain.rebuild(lake.spark, lake, SessionRule(timeout=timedelta(seconds=60)))
        return find(table)

    monkeypatch.setattr(lake, "find", rebuild_first)
    with pytest.raises(LakeError, match="-j rebuild_sessions"):
        apply(lake.spark, lake, [day(0)], RULE)
    assert [row.session_start for row in stored_rows(lake)] == [at("10:00"), at("10:04")]


@pytest.mark.long
def test_a_rebuild_that_read_before_a_run_writes_nothing(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(lake, landing, {0: [event("a", "10:00")]})
    before = lake.snapshot(ODS_SESSIONS)
    run(lake, landing, {1: [event("b", "10:04")]})
    monkeypatch.setattr(lake, "snapshot", lambda _: before)
    with pytest.raises(LakeError, match=r"another run has written .*ods_sessions since version 1"):
        maintain.rebuild(lake.spark, lake, SessionRule(timeout=timedelta(seconds=60)))
    monkeypatch.undo()
    assert [row.session_start for row in stored_rows(lake)] == [at("10:00"), at("10:00")]
