"""What late, repeated, withdrawn and corrected deliveries change of stored sessions: named cases, on real Delta.

All cases share the runs of one lake, each under its own user: the arrival days of `SCRIPT`, one run for each.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from sessions_assets.lake.lake import Lake, LakeError
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import results
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.reference import Event, Row
from sessions_assets_tests.tables import at, day, event, stored_rows, write_batches

# Day 2 comes after day 3; then days 3 and 0 are delivered again.
SCRIPT = (0, 1, 3, 2, 3, 0)
FIRST, LATE, DAY_3, DAY_2, DAY_3_AGAIN, DAY_0_AGAIN = range(len(SCRIPT))

Batches = dict[int, list[Event]]
# After a run: of each event in time order its id and the clock time at which its session starts.
Expected = dict[int, str]

CASES: dict[str, tuple[Batches, Expected]] = {
    "late action joins two sessions": (
        {FIRST: [event("a", "10:00"), event("b", "10:08")], LATE: [event("c", "10:04")]},
        {FIRST: "a 10:00, b 10:08", LATE: "a 10:00, c 10:00, b 10:00"},
    ),
    "late action extends to the left and renames": (
        {FIRST: [event("b", "10:00"), event("x", "10:02")], LATE: [event("a", "09:57")]},
        {FIRST: "b 10:00, x 10:00", LATE: "a 09:57, b 09:57, x 09:57"},
    ),
    "late action extends to the right": (
        {FIRST: [event("a", "10:00"), event("x", "10:07")], LATE: [event("b", "10:04")]},
        {FIRST: "a 10:00, x -", LATE: "a 10:00, b 10:00, x 10:00"},
    ),
    "late native changes nothing else": (
        {FIRST: [event("a", "10:00"), event("b", "10:06")], LATE: [event("x", "10:04"), event("x", "10:30")]},
        {LATE: "a 10:00, x 10:00, b 10:06, x -"},
    ),
    "late action gives empty rows a session": (
        {FIRST: [event("x", "10:00"), event("y", "10:02")], LATE: [event("a", "09:59")]},
        {FIRST: "x -, y -", LATE: "a 09:59, x 09:59, y 09:59"},
    ),
    "late action of another product changes nothing": (
        {FIRST: [event("a", "10:00"), event("b", "10:08")], LATE: [event("c", "10:04", product="II")]},
        {LATE: "a 10:00, c 10:04, b 10:08"},
    ),
    "late action joins over midnight, beyond its own date": (
        {FIRST: [event("a", "23:56"), event("b", "00:04", 1), event("x", "00:08", 1)], LATE: [event("c", "00:00", 1)]},
        {FIRST: "a 23:56, b 00:04, x 00:04", LATE: "a 23:56, c 23:56, b 23:56, x 23:56"},
    ),
    "late action between far sessions opens one": (
        {FIRST: [event("a", "10:00"), event("b", "12:00")], LATE: [event("c", "11:00")]},
        {LATE: "a 10:00, c 11:00, b 12:00"},
    ),
    "duplicate across batches": (
        {FIRST: [event("a", "10:00")], LATE: [event("a", "10:00")]},
        {LATE: "a 10:00"},
    ),
    "out-of-order arrival days": (
        {DAY_3: [event("b", "10:04", 2), event("x", "10:08", 2)], DAY_2: [event("a", "10:00", 2)]},
        {DAY_3: "b 10:04, x 10:04", DAY_2: "a 10:00, b 10:00, x 10:00"},
    ),
    "out-of-order arrival days, joined beyond the date of the later run": (
        {DAY_3: [event("b", "00:03", 3), event("x", "00:06", 3)], DAY_2: [event("a", "23:59", 2)]},
        {DAY_3: "b 00:03, x 00:03", DAY_2: "a 23:59, b 23:59, x 23:59"},
    ),
    "re-delivered batch without a row splits a session": (
        {
            DAY_3: [event("a", "10:00", 3), event("b", "10:04", 3), event("c", "10:08", 3), event("x", "10:09", 3)],
            DAY_3_AGAIN: [event("a", "10:00", 3), event("c", "10:08", 3), event("x", "10:09", 3)],
        },
        {DAY_3: "a 10:00, b 10:00, c 10:00, x 10:00", DAY_3_AGAIN: "a 10:00, c 10:08, x 10:08"},
    ),
    "re-delivered batch without a row shrinks a session from the left": (
        {DAY_3: [event("a", "10:00", 3), event("b", "10:04", 3)], DAY_3_AGAIN: [event("b", "10:04", 3)]},
        {DAY_3: "a 10:00, b 10:00", DAY_3_AGAIN: "b 10:04"},
    ),
    "re-delivered batch without its action leaves natives empty": (
        {DAY_3: [event("a", "10:00", 3), event("x", "10:02", 3)], DAY_3_AGAIN: [event("x", "10:02", 3)]},
        {DAY_3: "a 10:00, x 10:00", DAY_3_AGAIN: "x -"},
    ),
    "re-delivered batch that is empty removes all it brought": (
        {DAY_3: [event("a", "10:00", 3), event("x", "10:02", 3)], DAY_3_AGAIN: []},
        {DAY_3: "a 10:00, x 10:00", DAY_3_AGAIN: ""},
    ),
    "re-delivered batch corrects a time": (
        {
            DAY_3: [event("a", "10:00", 3), event("b", "10:04", 3)],
            DAY_3_AGAIN: [event("a", "10:00", 3), event("b", "11:04", 3)],
        },
        {DAY_3: "a 10:00, b 10:00", DAY_3_AGAIN: "a 10:00, b 11:04"},
    ),
    "re-delivered batch, row also in another batch, stays": (
        {
            FIRST: [event("a", "10:00"), event("b", "10:04")],
            LATE: [event("b", "10:04")],
            DAY_2: [event("b", "10:04")],
            DAY_0_AGAIN: [event("a", "10:00")],
        },
        {DAY_2: "a 10:00, b 10:00", DAY_0_AGAIN: "a 10:00, b 10:00"},
    ),
    "a row absent from a later batch stays": (
        {FIRST: [event("a", "10:00"), event("b", "10:04")], LATE: [event("a", "10:00")]},
        {LATE: "a 10:00, b 10:00"},
    ),
}


def batch(position: int) -> list[Event]:
    """Put the batches of all cases together; a case that says nothing of a second delivery repeats its first."""
    first = SCRIPT.index(SCRIPT[position])
    return [
        row._replace(user_id=name)
        for name, (batches, _) in CASES.items()
        for row in batches.get(position, batches.get(first, []))
    ]


@dataclass
class History:
    """A lake and its landing after the script, and the table after each run of it."""

    spark: SparkSession
    folder: Path
    tables: list[list[Row]]

    def copy(self, target: Path) -> Lake:
        """Give a test a lake of its own to go on with."""
        shutil.copytree(self.folder / "lake", target)
        return Lake(self.spark, str(target))


@pytest.fixture(scope="module")
def history(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("incremental")
    lake = Lake(spark, str(folder / "lake"))
    tables = []
    for position, number in enumerate(SCRIPT):
        deliver(lake, folder / "landing", day(number), batch(position))
        apply(lake, [day(number)], SessionRule())
        tables.append(stored_rows(lake))
    return History(spark, folder, tables)


def deliver(lake: Lake, landing: Path, arrival: date, events: Sequence[Event]) -> None:
    write_batches(landing, {arrival: events})
    land(lake, Landing(str(landing)), [arrival], LATENESS_DAYS)


def written_out(rows: list[Row]) -> str:
    """Write rows as the cases do."""
    rows = sorted(rows, key=lambda row: (row.timestamp, row.event_id))
    starts = ["-" if row.session_start is None else f"{row.session_start:%H:%M}" for row in rows]
    return ", ".join(f"{row.event_id} {start}" for row, start in zip(rows, starts, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, history: History) -> None:
    expected = CASES[name][1]
    found = {run: written_out([row for row in history.tables[run] if row.user_id == name]) for run in expected}
    assert found == expected


@pytest.mark.parametrize(
    ("name", "event_id", "run", "number"),
    [
        ("duplicate across batches", "a", LATE, 0),
        ("re-delivered batch, row also in another batch, stays", "b", DAY_2, 0),
        ("re-delivered batch, row also in another batch, stays", "b", DAY_0_AGAIN, 1),
        ("out-of-order arrival days", "x", DAY_2, 3),
        ("a row absent from a later batch stays", "b", LATE, 0),
    ],
)
def test_first_updated_at_is_the_least_day_that_holds_the_event(
    name: str, event_id: str, run: int, number: int, history: History
) -> None:
    found = [row.first_updated_at for row in history.tables[run] if (row.user_id, row.event_id) == (name, event_id)]
    assert found == [day(number)]


def test_numbers_of_a_run(lake: Lake, tmp_path: Path) -> None:
    """Rows inserted, changed and removed, and what became of the sessions, are what the run did."""
    users = {"join": "a", "left": "b", "right": "a", "tie": "b", "split": "a", "long": "a", "long join": "a"}
    first = [event(action, "10:00", user=user) for user, action in users.items()]
    first += [event("b", "10:08", user="join"), event("b", "10:04", user="split"), event("c", "10:08", user="split")]
    # Their later rows lie further than T behind the start.
    first += [event("a", clock, user="long") for clock in ("10:04", "10:08")]
    first += [event("a", clock, user="long join") for clock in ("10:04", "10:08", "10:16")]
    deliver(lake, tmp_path / "landing", day(0), [*first, first[0]])
    run = apply(lake, [day(0)], SessionRule())
    assert run.rows == {"inserted": 15, "changed": 0, "removed": 0}
    assert run.sessions == {"opened": 9, "extended": 0, "joined": 0, "shortened": 0}
    assert (run.days[day(0)].rows_accepted, run.days[day(0)].duplicates) == (16, 1)

    late = [
        event("c", "10:04", user="join"),
        event("a", "09:57", user="left"),
        event("b", "10:04", user="right"),
        event("a", "10:00", user="tie"),
        event("a", "10:00", user="new"),
        event("x", "09:00", user="new"),
        event("x", "10:01", user="tie"),
        event("b", "10:12", user="long"),
        event("b", "10:12", user="long join"),
    ]
    deliver(lake, tmp_path / "landing", day(1), late)
    run = apply(lake, [day(1)], SessionRule())
    assert run.rows == {"inserted": 9, "changed": 3, "removed": 0}
    assert run.sessions == {"opened": 1, "extended": 4, "joined": 2, "shortened": 0}
    assert (run.days[day(1)].events_first_seen, run.days[day(1)].empty_events) == (9, 1)

    deliver(lake, tmp_path / "landing", day(0), [row for row in first if row != event("b", "10:04", user="split")])
    run = apply(lake, [day(0)], SessionRule())
    assert run.rows == {"inserted": 0, "changed": 1, "removed": 1}
    assert run.sessions == {"opened": 0, "extended": 0, "joined": 0, "shortened": 1}


def test_session_longer_than_the_window_keeps_its_id(lake: Lake, tmp_path: Path) -> None:
    """A chain of actions over nine days is one session, found again through its last action alone (R15)."""
    chain = [event("a", "23:00", number) for number in range(9)]
    rule = SessionRule(timeout=timedelta(hours=24))
    batches = {day(number): [chain[number]] for number in range(9)}
    write_batches(tmp_path / "landing", batches)
    land(lake, Landing(str(tmp_path / "landing")), list(batches), LATENESS_DAYS)
    apply(lake, [day(number) for number in range(8)], rule)
    assert apply(lake, [day(8)], rule).rows == {"inserted": 1, "changed": 0, "removed": 0}
    assert {row.session_start for row in stored_rows(lake)} == {at("23:00")}


def test_same_batch_twice_makes_no_new_version(history: History, tmp_path: Path) -> None:
    """Landing and applying a day again leaves ods_sessions as it is, to the version (R19)."""
    lake = history.copy(tmp_path / "lake")
    before = lake.version(ODS_SESSIONS)
    deliver(lake, tmp_path / "landing", day(0), batch(DAY_0_AGAIN))
    assert lake.ledger.entries([day(0)])[day(0)].applied_at is None
    apply(lake, [day(0)], SessionRule())
    assert lake.version(ODS_SESSIONS) == before
    assert lake.ledger.entries([day(0)])[day(0)].applied_at is not None


def test_a_day_that_was_not_delivered_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"no batch of 2025-03-10 was delivered: materialize raw_events first"):
        apply(lake, [day(0)], SessionRule())


def test_a_day_that_was_not_delivered_is_left_out_of_a_range(history: History, tmp_path: Path) -> None:
    assert list(apply(history.copy(tmp_path / "lake"), [day(3), day(4)], SessionRule()).days) == [day(3)]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (SessionRule(timeout=timedelta(microseconds=299_999_999)), r"Microseconds=300000000.*Microseconds=299999999"),
        (SessionRule(user_actions=None), r'userActions=\["a", "b", "c"\].*userActions=\*'),
    ],
    ids=["timeout", "actions"],
)
def test_another_rule_is_refused_before_anything_is_written(
    rule: SessionRule, message: str, history: History, tmp_path: Path
) -> None:
    """The table remembers timeout and actions (R22)."""
    lake = history.copy(tmp_path / "lake")
    before = lake.version(ODS_SESSIONS)
    with pytest.raises(LakeError, match=message):
        apply(lake, [day(0)], rule)
    assert lake.version(ODS_SESSIONS) == before


def test_a_raw_partition_that_is_not_the_landed_one_is_refused(history: History, tmp_path: Path) -> None:
    """Rows of a raw day that went missing are never taken for rows that the batch lost."""
    lake = history.copy(tmp_path / "lake")
    lake.replace_days(RAW_EVENTS, [day(0)], lake.read_days(RAW_EVENTS, [day(0)]).where("event_id = 'a'"))
    with pytest.raises(LakeError, match=r"raw_events holds \d+ rows of 2025-03-10, but its landing had \d+"):
        apply(lake, [day(0)], SessionRule())
    assert stored_rows(lake) == history.tables[-1]


@pytest.mark.long
def test_a_second_writer_is_noticed(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit between reading the stored rows and writing the changes is never built upon (R18)."""
    lake = history.copy(tmp_path / "lake")
    deliver(lake, tmp_path / "landing", day(4), [event("a", "10:00", 4)])
    deliver(lake, tmp_path / "landing", day(5), [event("b", "10:04", 4)])
    count_sessions = results.count_sessions

    def meanwhile(changed: DataFrame) -> dict[str, int]:
        monkeypatch.setattr(results, "count_sessions", count_sessions)
        apply(lake, [day(5)], SessionRule())
        return count_sessions(changed)

    monkeypatch.setattr(results, "count_sessions", meanwhile)
    with pytest.raises(LakeError, match=r"another run has written .*ods_sessions since version \d+"):
        apply(lake, [day(4)], SessionRule())
    assert lake.ledger.entries([day(4)])[day(4)].applied_at is None
    apply(lake, [day(4)], SessionRule())
    assert written_out([row for row in stored_rows(lake) if row.user_id == "u"]) == "a 10:00, b 10:00"


def test_no_commit_copies_a_row_that_does_not_change(history: History) -> None:
    """Changed rows are marked by deletion vectors; the rest of their files stays as it is (R19)."""
    table = DeltaTable.forPath(history.spark, str(history.folder / "lake" / "ods_sessions"))
    noted = table.history().where("operation = 'ROW COMMIT'").select("operationMetrics", "operationParameters")
    commits = noted.collect()
    assert len(commits) == len(SCRIPT)
    assert {row["operationMetrics"]["numTargetRowsCopied"] for row in commits} == {"0"}
    assert sum(int(row["operationMetrics"]["numTargetRowsUpdated"]) for row in commits) > 10
    assert all(re.search(r"pdate, 2025-03-\d\d, 2025-03-", row["operationParameters"]["predicate"]) for row in commits)


def test_a_folder_may_have_any_letters(spark: SparkSession, tmp_path: Path) -> None:
    """A file is found again by its address, in which Spark writes spaces and letters of other languages otherwise."""
    lake = Lake(spark, str(tmp_path / "my lä ke"))
    deliver(lake, tmp_path / "landing", day(0), [event("a", "10:04"), event("b", "10:08")])
    apply(lake, [day(0)], SessionRule())
    deliver(lake, tmp_path / "landing", day(1), [event("c", "10:00")])
    assert apply(lake, [day(1)], SessionRule()).rows == {"inserted": 1, "changed": 2, "removed": 0}
    assert written_out(stored_rows(lake)) == "c 10:00, a 10:00, b 10:00"
