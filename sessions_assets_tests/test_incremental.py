"""What late, repeated, withdrawn and corrected deliveries change of stored sessions, and which runs are refused."""

import re
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.apply import apply, commit, landed_batch, plan_apply
from sessions_assets.pipeline.compute import compute
from sessions_assets.pipeline.inspections import inspect_all
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.incremental_cases import (
    CASES,
    DAY_0_AGAIN,
    DAY_2,
    LATE,
    SCRIPT,
    as_text,
    batch,
    deliver,
)
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Row
from sessions_assets_tests.tables import at, day, event, stored_rows, write_batches


@dataclass
class History:
    """A lake and its landing after all runs of the script, and the rows of the table after each run."""

    spark: SparkSession
    folder: Path
    tables: list[list[Row]]

    def copy(self, target: Path) -> Lake:
        """Return a copy of the lake that a test may change."""
        shutil.copytree(self.folder / "lake", target)
        return Lake(self.spark, str(target))


@pytest.fixture(scope="module")
def history(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("incremental")
    lake = Lake(spark, str(folder / "lake"))
    tables = []
    for position, number in enumerate(SCRIPT):
        deliver(lake, folder / "landing", day(number), batch(position))
        apply(lake.spark, lake, [day(number)], SessionRule())
        tables.append(stored_rows(lake))
    return History(spark, folder, tables)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, history: History) -> None:
    expected = CASES[name][1]
    found = {run: as_text([row for row in history.tables[run] if row.user_id == name]) for run in expected}
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
    """A run returns how many rows it inserted, changed and removed, and how many sessions had which outcome."""
    users = {"join": "a", "left": "b", "right": "a", "tie": "b", "split": "a", "long": "a", "long join": "a"}
    first = [event(action, "10:00", user=user) for user, action in users.items()]
    first += [event("b", "10:08", user="join"), event("b", "10:04", user="split"), event("c", "10:08", user="split")]
    # Sessions longer than T: their later rows are more than T after the start.
    first += [event("a", clock, user="long") for clock in ("10:04", "10:08")]
    first += [event("a", clock, user="long join") for clock in ("10:04", "10:08", "10:16")]
    deliver(lake, tmp_path / "landing", day(0), [*first, first[0]])
    run = apply(lake.spark, lake, [day(0)], SessionRule())
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
    run = apply(lake.spark, lake, [day(1)], SessionRule())
    assert run.rows == {"inserted": 9, "changed": 3, "removed": 0}
    assert run.sessions == {"opened": 1, "extended": 4, "joined": 2, "shortened": 0}
    assert (run.days[day(1)].events_first_seen, run.days[day(1)].empty_events) == (9, 1)

    deliver(lake, tmp_path / "landing", day(0), [row for row in first if row != event("b", "10:04", user="split")])
    run = apply(lake.spark, lake, [day(0)], SessionRule())
    assert run.rows == {"inserted": 0, "changed": 1, "removed": 1}
    assert run.sessions == {"opened": 0, "extended": 0, "joined": 0, "shortened": 1}


def test_session_longer_than_the_window_keeps_its_id(lake: Lake, tmp_path: Path) -> None:
    """A chain of actions over nine days is one session: its last action alone leads to its start (R15)."""
    chain = [event("a", "23:00", number) for number in range(9)]
    rule = SessionRule(timeout=timedelta(hours=24))
    batches = {day(number): [chain[number]] for number in range(9)}
    write_batches(tmp_path / "landing", batches)
    land(lake.spark, lake, Landing(str(tmp_path / "landing")), list(batches), LATENESS_DAYS)
    apply(lake.spark, lake, [day(number) for number in range(8)], rule)
    assert apply(lake.spark, lake, [day(8)], rule).rows == {"inserted": 1, "changed": 0, "removed": 0}
    assert {row.session_start for row in stored_rows(lake)} == {at("23:00")}


def test_a_product_with_a_longer_timeout_keeps_its_session(lake: Lake, tmp_path: Path) -> None:
    """A batch reaches back as far as the greatest T; each product's sessions follow its own (R27)."""
    rule = SessionRule(timeouts={"II": timedelta(hours=24), "I": timedelta(seconds=60)})
    batches = {
        day(number): [event("a", "23:00", number, product="II"), event("a", "23:00", number)] for number in range(3)
    }
    batches[day(2)] += [event("b", "23:01", 2), event("c", "23:02:00.000001", 2), event("c", "23:04", 2, product="III")]
    write_batches(tmp_path / "landing", batches)
    land(lake.spark, lake, Landing(str(tmp_path / "landing")), list(batches), LATENESS_DAYS)
    apply(lake.spark, lake, [day(0), day(1)], rule)
    assert apply(lake.spark, lake, [day(2)], rule).rows == {"inserted": 5, "changed": 0, "removed": 0}
    starts = {(row.product_code, row.timestamp): row.session_start for row in stored_rows(lake)}
    assert {start for (product, _), start in starts.items() if product == "II"} == {at("23:00")}
    one_by_one = [at("23:00"), at("23:00", 1), at("23:00", 2), at("23:00", 2), at("23:02:00.000001", 2)]
    assert [start for (product, _), start in sorted(starts.items()) if product == "I"] == one_by_one
    assert (
        lake.properties(ODS_SESSIONS)["sessions.timeoutMicrosecondsByProduct"] == '{"I": 60000000, "II": 86400000000}'
    )
    assert inspect_all(lake.spark, lake, rule).broken == {}


def test_same_batch_twice_makes_no_new_version(history: History, tmp_path: Path) -> None:
    """Landing and applying a day again makes no new version of ods_sessions (R19)."""
    lake = history.copy(tmp_path / "lake")
    before = lake.version(ODS_SESSIONS)
    deliver(lake, tmp_path / "landing", day(0), batch(DAY_0_AGAIN))
    assert lake.ledger.entries([day(0)])[day(0)].applied_at is None
    apply(lake.spark, lake, [day(0)], SessionRule())
    assert lake.version(ODS_SESSIONS) == before
    assert lake.ledger.entries([day(0)])[day(0)].applied_at is not None


def test_a_day_that_was_not_delivered_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"no batch of 2025-03-10 was delivered: materialize raw_events first"):
        apply(lake.spark, lake, [day(0)], SessionRule())


def test_a_day_that_was_not_delivered_is_left_out_of_a_range(history: History, tmp_path: Path) -> None:
    lake = history.copy(tmp_path / "lake")
    assert list(apply(lake.spark, lake, [day(3), day(4)], SessionRule()).days) == [day(3)]


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
    """The table records the timeout and the actions that it was built with (R22)."""
    lake = history.copy(tmp_path / "lake")
    before = lake.version(ODS_SESSIONS)
    with pytest.raises(LakeError, match=message):
        apply(lake.spark, lake, [day(0)], rule)
    assert lake.version(ODS_SESSIONS) == before


def test_a_raw_partition_that_is_not_the_landed_one_is_refused(history: History, tmp_path: Path) -> None:
    """Rows missing from a raw partition are not taken for rows that a new batch of the day left out."""
    lake = history.copy(tmp_path / "lake")
    lake.replace_days(RAW_EVENTS, [day(0)], lake.read_days(RAW_EVENTS, [day(0)]).where("event_id = 'a'"))
    with pytest.raises(LakeError, match=r"raw_events holds \d+ rows of 2025-03-10, but its landing had \d+"):
        apply(lake.spark, lake, [day(0)], SessionRule())
    assert stored_rows(lake) == history.tables[-1]


@pytest.mark.long
def test_a_second_writer_is_noticed(history: History, tmp_path: Path) -> None:
    """A run fails if another one commits between its reading and its commit (R18)."""
    lake = history.copy(tmp_path / "lake")
    deliver(lake, tmp_path / "landing", day(4), [event("a", "10:00", 4)])
    deliver(lake, tmp_path / "landing", day(5), [event("b", "10:04", 4)])
    plan = plan_apply(lake, [day(4)], SessionRule())
    changes = compute(lake.spark, plan, landed_batch(lake.spark, plan))
    apply(lake.spark, lake, [day(5)], SessionRule())
    with pytest.raises(LakeError, match=r"another run has written .*ods_sessions since version \d+"):
        commit(lake.spark, lake, plan, changes)
    assert lake.ledger.entries([day(4)])[day(4)].applied_at is None
    apply(lake.spark, lake, [day(4)], SessionRule())
    assert as_text([row for row in stored_rows(lake) if row.user_id == "u"]) == "a 10:00, b 10:00"


def test_no_commit_copies_a_row_that_does_not_change(history: History) -> None:
    """Changed rows are marked in deletion vectors; the other rows of their files are not written again (R19)."""
    table = DeltaTable.forPath(history.spark, str(history.folder / "lake" / "ods_sessions"))
    noted = table.history().where("operation = 'ROW COMMIT'").select("operationMetrics", "operationParameters")
    commits = noted.collect()
    assert len(commits) == len(SCRIPT)
    assert {row["operationMetrics"]["numTargetRowsCopied"] for row in commits} == {"0"}
    assert sum(int(row["operationMetrics"]["numTargetRowsUpdated"]) for row in commits) > 10
    assert all(re.search(r"pdate, 2025-03-\d\d, 2025-03-", row["operationParameters"]["predicate"]) for row in commits)


def test_a_folder_may_have_any_letters(spark: SparkSession, tmp_path: Path) -> None:
    """A row address names a file as Spark encodes it, with spaces and non-ASCII letters escaped."""
    lake = Lake(spark, str(tmp_path / "my lä ke"))
    deliver(lake, tmp_path / "landing", day(0), [event("a", "10:04"), event("b", "10:08")])
    apply(lake.spark, lake, [day(0)], SessionRule())
    deliver(lake, tmp_path / "landing", day(1), [event("c", "10:00")])
    assert apply(lake.spark, lake, [day(1)], SessionRule()).rows == {"inserted": 1, "changed": 2, "removed": 0}
    assert as_text(stored_rows(lake)) == "c 10:00, a 10:00, b 10:00"
