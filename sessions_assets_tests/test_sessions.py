"""sessions and session_changes: what they hold after each run, and how they mend themselves (R28, R29)."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from delta.tables import DeltaTable
from deltalake import DeltaTable as DeltaLake
from pyspark.sql import SparkSession

from sessions_assets.lake import sessions
from sessions_assets.lake.commits import as_text
from sessions_assets.lake.lake import MERGE, ROWS, LakeError
from sessions_assets.lake.tables import ODS_SESSIONS, SESSION_CHANGES, SESSIONS
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.summarize import Summarized, summarize
from sessions_assets.pipeline.summary_inspections import inspect_all_summaries, inspect_summaries
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event, IdChange, Summary, expected_summaries
from sessions_assets_tests.tables import at, day, event, stored_rows, write_batches

RULE = SessionRule()
_TWO = [event("a", "10:00"), event("b", "10:08")]
_JOINING = event("c", "10:04")
_COLUMNS = ", ".join(Summary._fields)


class Case(NamedTuple):
    """A lake and its landing."""

    lake: Lake
    landing: Path

    def deliver(self, *events: Event, number: int = 0) -> int:
        """Land and apply a batch; return the version of ods_sessions."""
        return self.deliver_days({number: list(events)})

    def deliver_days(self, batches: Mapping[int, list[Event]]) -> int:
        """Land and apply batches in one run; return the version of ods_sessions."""
        write_batches(self.landing, {day(number): events for number, events in batches.items()})
        days = [day(number) for number in batches]
        land(self.lake.spark, self.lake, Landing(str(self.landing)), days, LATENESS_DAYS)
        return apply(self.lake.spark, self.lake, days, RULE).version

    def summarize(self) -> Summarized:
        """Bring the derived tables on."""
        return summarize(self.lake.spark, self.lake, RULE)

    def rows(self) -> list[Summary]:
        """Return all summaries, sorted."""
        return sorted(Summary(*row) for row in self.lake.rows(SESSIONS, _COLUMNS))

    def changes(self) -> list[tuple[int, IdChange]]:
        """Return the changes of ids, each with its version of ods_sessions, sorted."""
        rows = self.lake.rows(SESSION_CHANGES, "ods_version, old_session_id, new_session_id, kind, rows")
        return sorted(((row[0], IdChange(*row[1:])) for row in rows), key=str)

    def check(self) -> None:
        """The table is the aggregate of the newest version, and says so; the checks find nothing."""
        assert self.rows() == expected_summaries(stored_rows(self.lake))
        stamp = sessions.stamp_of(self.lake.snapshot(SESSIONS))
        assert stamp is not None
        assert stamp.version == self.lake.version(ODS_SESSIONS)
        told = sessions.stamp_of(self.lake.snapshot(SESSION_CHANGES))
        assert told is not None
        assert told.version == stamp.version


@pytest.fixture
def new(lake: Lake, tmp_path: Path) -> Case:
    """An empty lake."""
    return Case(lake, tmp_path / "landing")


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions of day 0 and one of day 1, summarized after each day."""
    folder = tmp_path_factory.mktemp("prepared")
    case = Case(Lake(spark, str(folder / "lake")), folder / "landing")
    for number, events in enumerate((_TWO, [event("a", "20:00", 1)])):
        case.deliver(*events, number=number)
        case.summarize()
    return folder


@pytest.fixture(scope="module")
def joined(prepared: Path, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and on day 2 an action that joins the two sessions, not summarized: version 3."""
    folder = tmp_path_factory.mktemp("joined")
    assert copied(prepared, spark, folder).deliver(_JOINING, number=2) == 3
    return folder / "copied"


@pytest.fixture
def case(prepared: Path, spark: SparkSession, tmp_path: Path) -> Case:
    return copied(prepared, spark, tmp_path)


@pytest.fixture
def pending(joined: Path, spark: SparkSession, tmp_path: Path) -> Case:
    return copied(joined, spark, tmp_path)


def copied(folder: Path, spark: SparkSession, to: Path) -> Case:
    """Return a copy of a lake and its landing."""
    shutil.copytree(folder, to / "copied")
    return Case(Lake(spark, str(to / "copied" / "lake")), to / "copied" / "landing")


def session(clock: str, number: int = 0) -> str:
    return f"u#I#{day(number)} {clock}:00"


def test_a_session_is_one_row(new: Case) -> None:
    """Native events inside count, those outside do not; of actions at one instant the ids are least and greatest."""
    case = new
    case.deliver(
        event("x", "09:59"), event("b", "10:00"), event("a", "10:00"), event("x", "10:02"), event("c", "10:04:30.5"),
        event("b", "10:04:30.5"), event("y", "10:09"), event("a", "11:00"), event("a", "12:00", product="50#%"),
    )  # fmt: skip
    assert case.summarize().rebuilt == "there was no table"
    assert case.rows() == [
        Summary("u#50%23%25#2025-03-10 12:00:00", "u", "50#%", at("12:00"), at("12:00"), 0.0, 1, 1, "a", "a", day(0),
                day(0), day(0)),
        Summary(session("10:00"), "u", "I", at("10:00"), at("10:04:30.5"), 270.5, 4, 6, "a", "c", day(0), day(0),
                day(0)),
        Summary(session("11:00"), "u", "I", at("11:00"), at("11:00"), 0.0, 1, 1, "a", "a", day(0), day(0), day(0)),
    ]  # fmt: skip
    case.check()


class Moves(NamedTuple):
    """What a user delivers first on day 0, then in a second run by day, and what that does to ids."""

    first: list[Event]
    second: dict[int, list[Event]]
    changes: list[IdChange]


_CHAIN = [event("a", "10:00"), event("b", "10:04"), event("c", "10:08"), event("x", "10:09")]
MOVES = {
    "late action joins two sessions": Moves(
        _TWO, {3: [_JOINING]}, [IdChange(session("10:08"), session("10:00"), "joined", 1)]
    ),
    "late action extends to the left and renames": Moves(
        _CHAIN, {1: [event("a", "09:57")]}, [IdChange(session("10:00"), session("09:57"), "renamed", 4)]
    ),
    "late actions before two sessions join both": Moves(
        [event("a", "10:00"), event("b", "10:06")],
        {1: [event("c", "09:58"), event("c", "10:02")]},
        [
            IdChange(session("10:00"), session("09:58"), "joined", 1),
            IdChange(session("10:06"), session("09:58"), "joined", 1),
        ],
    ),
    "late native event moves nothing": Moves(_CHAIN, {1: [event("y", "10:01")]}, []),
    "late action to the right moves nothing": Moves(_CHAIN, {1: [event("a", "10:12")]}, []),
    "removed action splits a session": Moves(
        _CHAIN,
        {0: [_CHAIN[0], *_CHAIN[2:]]},
        [IdChange(session("10:00"), session("10:08"), "split", 2), IdChange(session("10:00"), None, "ended", 1)],
    ),
    "removed first action renames": Moves(
        _CHAIN,
        {0: _CHAIN[1:]},
        [IdChange(session("10:00"), session("10:04"), "renamed", 3), IdChange(session("10:00"), None, "ended", 1)],
    ),
    "removed actions end a session": Moves(_CHAIN, {0: [_CHAIN[3]]}, [IdChange(session("10:00"), None, "ended", 4)]),
    "removed first action of two at its instant keeps the id": Moves(
        [event("a", "10:00"), event("b", "10:00")],
        {0: [event("b", "10:00")]},
        [IdChange(session("10:00"), None, "ended", 1)],
    ),
}


@pytest.fixture(scope="module", params=[ROWS, pytest.param(MERGE, marks=pytest.mark.long)])
def moved(request: pytest.FixtureRequest, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """All of these in two runs, each as another user."""
    folder = tmp_path_factory.mktemp("moved")
    case = Case(Lake(spark, str(folder / "lake"), commit=request.param), folder / "landing")
    case.deliver(*[e._replace(user_id=user) for user, moves in MOVES.items() for e in moves.first])
    case.summarize()
    second: dict[int, list[Event]] = {}
    for user, moves in MOVES.items():
        for number, events in ({0: moves.first} | moves.second).items():
            second.setdefault(number, []).extend(e._replace(user_id=user) for e in events)
    case.deliver_days(second)
    case.summarize()
    return case


@pytest.mark.parametrize("name", MOVES)
def test_ids_that_change_are_told(name: str, moved: Case) -> None:
    found = [change for _, change in moved.changes() if change.old_session_id.startswith(f"{name}#")]
    assert found == sorted((_of_user(name, change) for change in MOVES[name].changes), key=str)


def _of_user(user: str, change: IdChange) -> IdChange:
    ids = (change.old_session_id, change.new_session_id)
    return IdChange(*[old and user + old.removeprefix("u") for old in ids], *change[2:])


def test_summaries_that_change_are_stored(moved: Case) -> None:
    """In both ways to commit; all changes of ids are those of the second run."""
    moved.check()
    assert {version for version, _ in moved.changes()} == {moved.lake.version(ODS_SESSIONS)}


def test_a_run_that_finds_nothing_new_writes_nothing(case: Case) -> None:
    versions = [case.lake.version(table) for table in (SESSIONS, SESSION_CHANGES)]
    case.deliver(*_TWO)
    assert case.summarize().rows == {"inserted": 0, "changed": 0, "removed": 0}
    assert [case.lake.version(table) for table in (SESSIONS, SESSION_CHANGES)] == versions


def test_several_commits_are_followed_one_by_one(case: Case) -> None:
    """After runs of the two other assets alone, a compaction and a rebuild."""
    renamed = case.deliver(event("a", "09:57"), number=2)
    joined = case.deliver(_JOINING, number=3)
    case.deliver(event("a", "15:00", 9), number=9)
    assert maintain.compact(case.lake.spark, case.lake, LATENESS_DAYS)
    short = SessionRule(timedelta(seconds=200))
    rebuilt = maintain.rebuild(case.lake.spark, case.lake, short).version
    done = summarize(case.lake.spark, case.lake, short)
    assert done.ods_version == case.lake.version(ODS_SESSIONS)
    assert case.changes() == [
        (renamed, IdChange(session("10:00"), session("09:57"), "renamed", 1)),
        (joined, IdChange(session("10:08"), session("09:57"), "joined", 1)),
        (rebuilt, IdChange(session("09:57"), session("10:04"), "split", 1)),
        (rebuilt, IdChange(session("09:57"), session("10:08"), "split", 1)),
    ]
    case.check()


def lost(case: Case) -> None:
    shutil.rmtree(case.lake.path(SESSIONS))


def without_a_file(case: Case) -> None:
    next(Path(case.lake.path(SESSIONS)).glob("start_date=*/*.parquet")).unlink()


def deleted_from(case: Case) -> None:
    DeltaTable.forPath(case.lake.spark, case.lake.path(SESSIONS)).delete("user_id = 'u'")


def set_back(case: Case) -> None:
    DeltaTable.forPath(case.lake.spark, case.lake.path(SESSIONS)).restoreToVersion(0)


def changes_lost(case: Case) -> None:
    shutil.rmtree(case.lake.path(SESSION_CHANGES))


def another_ods(case: Case) -> None:
    """The same events in a new table: its versions have the same numbers."""
    shutil.rmtree(case.lake.path(ODS_SESSIONS))
    for days in ([day(0)], [day(1), day(2)]):
        apply(case.lake.spark, case.lake, days, RULE)


JOINED = [(3, IdChange(session("10:08"), session("10:00"), "joined", 1))]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lost, "there was no table"),
        (without_a_file, "1 files of the table are missing"),
        (deleted_from, "no run has written the table, or another program since"),
        (set_back, "no run has written the table, or another program since"),
        (changes_lost, ""),
        (another_ods, "version 2, which the table equals, is not of this ods_sessions"),
    ],
)
def test_damage_is_mended_and_said(damage: Callable[[Case], None], said: str, pending: Case) -> None:
    """The commit that is not followed yet is: its changes of ids are told, unless the table is another one."""
    damage(pending)
    assert pending.summarize().rebuilt == said
    pending.check()
    assert pending.changes() == ([] if damage is another_ods else JOINED)


def test_an_older_copy_of_the_table_is_brought_on(pending: Case, tmp_path: Path) -> None:
    """As a backup that was put back: the changes of ids that are told already are not told twice."""
    shutil.copytree(pending.lake.path(SESSIONS), tmp_path / "copy")
    pending.summarize()
    shutil.rmtree(pending.lake.path(SESSIONS))
    shutil.copytree(tmp_path / "copy", pending.lake.path(SESSIONS))
    assert pending.summarize().rebuilt == ""
    assert pending.changes() == JOINED
    pending.check()


def test_a_run_that_dies_between_the_two_tables_is_repeated(pending: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sessions, "commit_summaries", _dies)
        with pytest.raises(KeyboardInterrupt):
            pending.summarize()
    assert pending.changes() == JOINED
    pending.summarize()
    assert pending.changes() == JOINED
    pending.check()


def _dies(*_: object) -> None:
    raise KeyboardInterrupt


def test_compaction_of_both_tables_is_followed(pending: Case) -> None:
    """The old dates of sessions get one file, and the table still says what it equals."""
    pending.deliver(event("a", "12:00"), number=3)
    pending.summarize()
    assert pending.lake.snapshot(SESSIONS).files_by_day("start_date")[day(0)].number == 2
    assert day(0) in maintain.compact(pending.lake.spark, pending.lake, 0)
    assert pending.lake.snapshot(SESSIONS).files_by_day("start_date")[day(0)].number == 1
    stamp = sessions.stamp_of(pending.lake.snapshot(SESSIONS))
    assert stamp is not None
    assert stamp.version == 4
    assert pending.summarize().rows == {"inserted": 0, "changed": 0, "removed": 0}
    pending.check()
    assert pending.changes() == JOINED


def test_a_feed_that_is_gone_is_said(pending: Case) -> None:
    """VACUUM has deleted files of the versions between: all is computed anew, and ids are followed from there on."""
    maintain.rebuild(pending.lake.spark, pending.lake, RULE)
    _vacuum(pending.lake)
    done = pending.summarize()
    assert done.rebuilt == "a version of ods_sessions after 2 cannot be read any more"
    assert done.since == pending.lake.version(ODS_SESSIONS)
    pending.check()


def _vacuum(lake: Lake) -> None:
    setting = "spark.databricks.delta.retentionDurationCheck.enabled"
    lake.spark.conf.set(setting, "false")
    DeltaTable.forPath(lake.spark, lake.path(ODS_SESSIONS)).vacuum(0)
    lake.spark.conf.unset(setting)


def test_a_second_run_at_once_is_refused(pending: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the same versions: the later one commits nothing, and no change of ids is told twice."""
    commit, append = sessions.commit_summaries, sessions.append_changes
    with monkeypatch.context() as patched:
        patched.setattr(sessions, "append_changes", lambda *given: (append(*given), append(*given)))
        patched.setattr(sessions, "commit_summaries", lambda *given: (commit(*given), commit(*given)))
        with pytest.raises(LakeError, match=r"another run has written .*session_changes"):
            pending.summarize()
        patched.setattr(sessions, "append_changes", append)
        with pytest.raises(LakeError, match=r"another run has written .*sessions since"):
            pending.summarize()
    assert pending.changes() == JOINED
    pending.check()


def test_changes_that_were_erased_stay_erased(pending: Case) -> None:
    """Somebody deletes the rows of a person: those of others stay, and later changes are told."""
    pending.deliver(event("a", "09:57", user="v"), event("a", "10:00", user="v"), number=3)
    pending.deliver(event("a", "09:53", user="v"), number=4)
    pending.summarize()
    told = pending.changes()
    assert len(told) > 1
    DeltaTable.forPath(pending.lake.spark, pending.lake.path(SESSION_CHANGES)).delete("old_session_id LIKE 'v#%'")
    pending.deliver(event("a", "09:56"), number=5)
    done = pending.summarize()
    assert (done.rebuilt, done.since) == ("", 1)
    kept = [change for change in told if change[1].old_session_id.startswith("u#")]
    assert pending.changes() == [*kept, (6, IdChange(session("10:00"), session("09:56"), "renamed", 3))]
    pending.check()


def test_an_older_copy_of_ods_sessions_is_another_history(pending: Case, tmp_path: Path) -> None:
    """The versions that come again have other commits: what was told of the first goes, and no later one is lost."""
    address, copy = pending.lake.path(ODS_SESSIONS), tmp_path / "copy"
    shutil.copytree(address, copy)
    pending.deliver(event("a", "09:57"), number=3)
    pending.deliver(event("a", "09:54"), number=4)
    pending.summarize()
    shutil.rmtree(address)
    shutil.copytree(copy, address)
    apply(pending.lake.spark, pending.lake, [day(3)], RULE)
    assert pending.summarize().rebuilt == "version 5, which the table equals, is not of this ods_sessions"
    pending.check()
    assert pending.changes() == []
    apply(pending.lake.spark, pending.lake, [day(4)], RULE)
    pending.summarize()
    assert pending.changes() == [(5, IdChange(session("09:57"), session("09:54"), "renamed", 4))]
    pending.check()


def test_a_version_that_the_log_has_lost_is_said(pending: Case, caplog: pytest.LogCaptureFixture) -> None:
    """Delta deletes parts of a log that are older than a month: what was told before stays, with a gap after it."""
    pending.summarize()
    pending.deliver(event("a", "09:57"), number=3)
    log = Path(pending.lake.path(ODS_SESSIONS)) / "_delta_log"
    DeltaLake(pending.lake.path(ODS_SESSIONS)).create_checkpoint()
    for version in range(4):
        (log / f"{version:020}.json").unlink()
    done = pending.summarize()
    assert done.rebuilt == "the log of ods_sessions no longer has version 3, which the table equals"
    assert done.since == 4
    assert "session_changes lacks what happened between versions 3 and 4 of ods_sessions" in caplog.text
    assert pending.changes() == JOINED
    pending.check()


def test_damage_that_was_repaired_before_the_run_is_not_followed(new: Case) -> None:
    """A version in which a session has no action has no summary."""
    case = new
    case.deliver(event("a", "10:00"), event("x", "10:01"), event("a", "12:00"))
    case.summarize()
    DeltaTable.forPath(case.lake.spark, case.lake.path(ODS_SESSIONS)).delete(
        "event_id = 'a' AND session_id LIKE '%10:00:00'"
    )
    with pytest.raises(Exception, match="NOT NULL"):
        case.summarize()
    maintain.rebuild(case.lake.spark, case.lake, RULE)
    assert case.summarize().rebuilt == "a version of ods_sessions after 1 has a session without an action"
    case.check()


@pytest.mark.parametrize(("zone", "clock"), [("America/New_York", "01:00"), ("Europe/Berlin", "23:30")])
def test_the_time_zone_of_the_process_does_not_matter(
    zone: str, clock: str, new: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose date of the first or last session is another one than that in UTC."""
    with monkeypatch.context() as moved:
        moved.setenv("TZ", zone)
        time.tzset()
        try:
            new.deliver(event("a", clock, 1), number=2)
            new.summarize()
            new.deliver(event("b", f"{clock[:3]}04" if clock < "12" else "23:34", 1), number=3)
            assert new.summarize().rows == {"inserted": 0, "changed": 1, "removed": 0}
        finally:
            moved.undo()
            time.tzset()
    new.check()


def test_summaries_that_cannot_be_judged_are_refused_with_what_to_do(pending: Case) -> None:
    """They equal a version whose files are deleted; then, one of another ods_sessions."""
    maintain.rebuild(pending.lake.spark, pending.lake, RULE)
    _vacuum(pending.lake)
    with pytest.raises(LakeError, match=r"equals version 2 of 4 of ods_sessions, of which \d+ files are deleted"):
        inspect_all_summaries(pending.lake.spark, pending.lake)
    another_ods(pending)
    with pytest.raises(LakeError, match="equals version 2 of another ods_sessions: materialize sessions"):
        inspect_summaries(pending.lake.spark, pending.lake, [day(0)])


def test_wrong_summaries_are_found(case: Case) -> None:
    """Of the days that touched them, each as what it is."""
    table = DeltaTable.forPath(case.lake.spark, case.lake.path(SESSIONS))
    stamp = sessions.stamp_of(case.lake.snapshot(SESSIONS))
    assert stamp is not None
    case.lake.spark.conf.set("spark.databricks.delta.commitInfo.userMetadata", as_text(stamp.as_notes()))
    try:
        table.update(f"session_id = '{session('10:00')}'", {"user_actions": "user_actions + 1"})
        table.delete(f"session_id = '{session('10:08')}'")
        table.update(f"session_id = '{session('20:00', 1)}'", {"session_id": "'u#I#none'"})
    finally:
        case.lake.spark.conf.unset("spark.databricks.delta.commitInfo.userMetadata")
    found = inspect_summaries(case.lake.spark, case.lake, [day(0), day(1), day(2)])
    assert {arrival: inspection.broken for arrival, inspection in found.items()} == {
        day(0): {"summary_equals_events": 1, "no_session_missing": 1},
        day(1): {"no_session_without_events": 1, "no_session_missing": 1},
        day(2): {},
    }
    assert found[day(0)].examples["no_session_missing"] == [{"session_id": session("10:08")}]
    assert inspect_all_summaries(case.lake.spark, case.lake).broken == {
        "summary_equals_events": 1, "no_session_without_events": 1, "no_session_missing": 2,
    }  # fmt: skip


def test_the_numbers_of_a_day(new: Case) -> None:
    case = new
    case.deliver(
        event("a", "09:00"), event("b", "09:04"), event("c", "09:08"), event("a", "10:00"), event("b", "10:00:20"),
        event("a", "11:00"), event("a", "23:59"), event("b", "00:01", 1),
    )  # fmt: skip
    case.summarize()
    found = sessions.days_of_sessions(case.lake.snapshot(SESSIONS), [day(0), day(1)])
    assert found[day(1)] == sessions.DayOfSessions()
    # The library interpolates with some digits only.
    assert replace(found[day(0)], duration_p95=round(found[day(0)].duration_p95)) == sessions.DayOfSessions(
        sessions=4, duration_median=70.0, duration_p95=426, actions_median=2.0, actions_p95=2.85,
        one_action_share=0.25, by_duration={0: 1, 2: 1, 3: 1, 4: 1},
    )  # fmt: skip
    assert sessions.long_sessions(case.lake.snapshot(SESSIONS), [day(0), day(1)], 1) == {}


def test_long_sessions(new: Case) -> None:
    """By the last arrival day that touched them, the longest first; of all days as one when no day is asked for."""
    case = new
    steady = [event("a", f"{10 + minute // 60}:{minute % 60:02}") for minute in range(0, 125, 4)]
    case.deliver(*steady, event("a", "23:00"))
    case.deliver(*(event("a", f"{2 + minute // 60:02}:{minute % 60:02}", 1) for minute in range(0, 61, 4)),
                 event("b", "12:08"), number=1)  # fmt: skip
    case.summarize()
    table = case.lake.snapshot(SESSIONS)
    longest, exactly_an_hour = (session("10:00"), 2.13), (session("02:00", 1), 1.0)
    assert sessions.long_sessions(table, [day(0), day(1)], 1) == {day(1): sessions.LongSessions(1, (longest,))}
    assert sessions.long_sessions(table, None, 0) == {
        None: sessions.LongSessions(2, (longest, exactly_an_hour)),
    }  # fmt: skip
