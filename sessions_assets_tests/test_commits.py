"""Both ways to commit changed sessions, by row addresses and by MERGE, give the same table, counts and refusals."""

import shutil
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import NamedTuple

import pytest
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from sessions_assets.lake.commits import (
    Committed,
    OvertakenError,
    RowChanges,
    WrongChangesError,
    commit_merge,
    commit_rows,
    notes_of,
    row_address,
)
from sessions_assets.lake.lake import MERGE, ROWS
from sessions_assets.lake.ods import columns_of, own_commits
from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets.pipeline.apply import apply
from sessions_assets.rule.events import IDENTITY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests import incremental_cases
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.meeting import wait_for, waiting
from sessions_assets_tests.reference import Event, Row
from sessions_assets_tests.tables import at, day, event, stored_rows, without_values

BOTH = pytest.mark.parametrize("way", [ROWS, MERGE])
_KIND_OF = {"inserted": "Inserted", "changed": "Updated", "removed": "Deleted"}


def row(event_id: str, clock: str, number: int = 0, *, session: str | None = None, first: int = 0) -> Row:
    """Make a row of an event on a date, in the session that starts at `session`, first brought by a day."""
    found: Event = event(event_id, clock, number)
    start = session and at(session, number)
    session_id = start and f"u#I#{start}"
    return Row(*found, event_id != "x", session_id or None, start or None, day(first), day(number))


class Step(NamedTuple):
    """Changes of one commit: new rows, new values of stored rows, and rows that go."""

    inserted: Collection[Row] = ()
    changed: Collection[Row] = ()
    removed: Collection[Row] = ()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Count the rows by their kind."""
        return len(self.inserted), len(self.changed), len(self.removed)


A, B, C, X = (row(name, f"10:0{n}", session="10:00") for n, name in enumerate("abcx"))
A1, B1, X1 = (row(name, f"10:0{n}", 1, session="10:00") for n, name in enumerate("abx"))
LATE = row("c", "09:58", session="09:58", first=1)


def moved(stored: Row, session: str | None) -> Row:
    """Put a row into another session of its date, or in none."""
    return row(stored.event_id, stored.timestamp.strftime("%H:%M"), (stored.pdate - day(0)).days, session=session)


STEPS = {
    "inserted, in two dates": Step(inserted=[A, C, X, A1, B1]),
    "inserted, a second file of a date": Step(inserted=[B, X1]),
    "changed, a session renamed in two files": Step(changed=[moved(r, "09:59") for r in (A, B, C, X)]),
    "all kinds, in files with deletion vectors": Step(
        inserted=[LATE], changed=[moved(r, "09:58") for r in (A, B)] + [moved(B1, "10:01")], removed=[C, A1]
    ),
    "changed, to no session, and only the arrival day": Step(
        changed=[moved(X, None), moved(X1, None), LATE._replace(first_updated_at=day(0))]
    ),
    "changed, from no session; removed, all that is left of a date": Step(
        changed=[moved(X, "09:58")], removed=[moved(B1, "10:01"), moved(X1, None)]
    ),
}
BEFORE = 4
"""So many steps are done before a refusal is tested."""


def frame(spark: SparkSession, rows: Iterable[tuple[Row, str]]) -> DataFrame:
    """Make rows of the table, each with its change."""
    columns = ", ".join(f"{column.name} {column.sql_type}" for column in ODS_SESSIONS.columns)
    values = [
        (
            *found._replace(
                timestamp=found.timestamp.replace(tzinfo=UTC),
                session_start=found.session_start and found.session_start.replace(tzinfo=UTC),
            ),
            change,
        )
        for found, change in rows
    ]
    return without_values(spark.createDataFrame(values, f"{columns}, change STRING"))


def changes_of(lake: Lake, step: Step, version: int) -> RowChanges:
    """Return the changes of a step with the row addresses of a version."""
    kinds = dict(zip(_KIND_OF, step, strict=True))
    rows = frame(lake.spark, [(found, kind) for kind, those in kinds.items() for found in those])
    table = lake.read(ODS_SESSIONS, version)
    stored = table.select(*IDENTITY_COLUMNS, row_address(table))
    dates = [found.pdate for those in step for found in those]
    # Written as one file of each date.
    changed = rows.join(stored, [*IDENTITY_COLUMNS], "left").coalesce(1)
    columns = columns_of(changed, ())
    return RowChanges(changed, *step.counts, min(dates), max(dates), columns, IDENTITY_COLUMNS, "pdate")


def after(steps: Iterable[Step]) -> list[Row]:
    """Compute the rows that some steps leave."""
    rows: dict[Event, Row] = {}
    for step in steps:
        rows |= {Event(*found[:4]): found for found in (*step.inserted, *step.changed)}
        for found in step.removed:
            del rows[Event(*found[:4])]
    return sorted(rows.values())


def committed(lake: Lake, way: str, changes: RowChanges, version: int) -> Committed:
    write = {ROWS: commit_rows, MERGE: commit_merge}[way]
    return write(lake.spark, lake.path(ODS_SESSIONS), version, changes, {"noted": way})


def play(lake: Lake, way: str, first: int, last: int) -> None:
    """Commit some of the steps; each gives the rows and the counts that it says."""
    steps = list(STEPS.values())
    for version, (name, step) in list(enumerate(STEPS.items()))[first:last]:
        changes = changes_of(lake, step, version)
        made = committed(lake, way, changes, version)
        assert made.version == version + 1 == lake.version(ODS_SESSIONS), name
        assert stored_rows(lake) == after(steps[: version + 1]), name
        (noted,) = lake.snapshot(ODS_SESSIONS).commits(1)
        counts = [noted["operationMetrics"][f"numTargetRows{kind}"] for kind in (*_KIND_OF.values(), "Copied")]
        assert list(map(int, counts)) == [*step.counts, 0], name
        assert noted["operation"] == {ROWS: "ROW COMMIT", MERGE: "MERGE"}[way]
        assert notes_of(noted) == {"noted": way}
        assert made.txn_id == {ROWS: noted["txnId"], MERGE: None}[way]


@pytest.fixture(scope="module")
def after_steps(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table after some steps: with several files of a date, and deletion vectors."""
    folder = tmp_path_factory.mktemp("commits")
    lake = Lake(spark, str(folder))
    lake.create(ODS_SESSIONS)
    play(lake, ROWS, 0, BEFORE)
    return folder


@pytest.fixture
def stored(after_steps: Path, lake: Lake) -> Lake:
    """A copy of it, to write."""
    shutil.copytree(after_steps / ODS_SESSIONS.name, lake.path(ODS_SESSIONS))
    return lake


def test_every_kind_of_row_commit_gives_the_rows_and_the_counts_that_it_says(stored: Lake) -> None:
    """The rest of the steps."""
    play(stored, ROWS, BEFORE, len(STEPS))
    assert len(own_commits(stored.snapshot(ODS_SESSIONS))) == len(STEPS) + 1


def test_every_kind_of_merge_gives_the_rows_and_the_counts_that_it_says(lake: Lake) -> None:
    lake.create(ODS_SESSIONS)
    play(lake, MERGE, 0, len(STEPS))
    assert len(own_commits(lake.snapshot(ODS_SESSIONS))) == len(STEPS) + 1


@pytest.mark.long
def test_late_repeated_and_withdrawn_deliveries_give_the_same_by_both(spark: SparkSession, tmp_path: Path) -> None:
    """The cases of late deliveries, through landing and applying: the same rows, counts and versions after each run."""
    lakes = [Lake(spark, str(tmp_path / way), commit=way) for way in (ROWS, MERGE)]
    for run, number in enumerate(incremental_cases.SCRIPT):
        results = []
        for lake in lakes:
            incremental_cases.deliver(lake, tmp_path / "landing", day(number), incremental_cases.batch(run))
            applied = apply(lake.spark, lake, [day(number)], SessionRule())
            results.append((applied.rows, applied.version, stored_rows(lake)))
        assert results[0] == results[1]
        assert sum(results[0][0].values()) > 0


CHANGE = Step(inserted=[A1], changed=[moved(B, "10:01")], removed=[X])


def other_commit(lake: Lake) -> None:
    """Commit as another run of this project does."""
    version = lake.version(ODS_SESSIONS)
    committed(lake, ROWS, changes_of(lake, Step(changed=[moved(B, "10:02")]), version), version)


def foreign_commit(lake: Lake) -> None:
    """Commit as another program may."""
    DeltaTable.forPath(lake.spark, lake.path(ODS_SESSIONS)).delete("event_id = 'c'")


@BOTH
@pytest.mark.parametrize("other", [other_commit, foreign_commit])
def test_an_overtaken_run_changes_nothing(way: str, other: Callable[[Lake], None], stored: Lake) -> None:
    changes = changes_of(stored, CHANGE, BEFORE)
    other(stored)
    left = stored_rows(stored)
    with pytest.raises(OvertakenError, match=rf"another run has written .*ods_sessions since version {BEFORE}"):
        committed(stored, way, changes, BEFORE)
    assert (stored_rows(stored), stored.version(ODS_SESSIONS)) == (left, BEFORE + 1)


@pytest.mark.parametrize(
    ("way", "column"),
    [
        (ROWS, "session_id"),
        pytest.param(MERGE, "change", marks=pytest.mark.long),
        pytest.param(MERGE, "session_id", marks=pytest.mark.long),
    ],
)
def test_a_run_that_is_overtaken_while_it_commits_changes_nothing(
    way: str, column: str, stored: Lake, tmp_path: Path
) -> None:
    """MERGE counts the changes, for which it computes `change`, and begins its transaction then."""
    changes = changes_of(stored, CHANGE, BEFORE)
    changes = replace(changes, rows=waiting(changes.rows, column, tmp_path))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(committed, stored, way, changes, BEFORE)
        wait_for(tmp_path / "computing")
        other_commit(stored)
        left = stored_rows(stored)
        (tmp_path / "go").touch()
        with pytest.raises(OvertakenError):
            first.result(120)
    assert (stored_rows(stored), stored.version(ODS_SESSIONS)) == (left, BEFORE + 1)


@BOTH
def test_other_counts_write_nothing(way: str, stored: Lake) -> None:
    changes = changes_of(stored, CHANGE, BEFORE)
    left = stored_rows(stored)
    for inserted, updated, deleted in [(0, 1, 1), (1, 2, 1), (1, 1, 0)]:
        wrong = replace(changes, inserted=inserted, updated=updated, deleted=deleted)
        with pytest.raises(WrongChangesError, match=r"ods_sessions: .* were counted"):
            committed(stored, way, wrong, BEFORE)
    assert (stored_rows(stored), stored.version(ODS_SESSIONS)) == (left, BEFORE)


WRONG_ROWS = {
    "inserted, though stored": Step(inserted=[B]),
    "changed, though not stored": Step(changed=[A1]),
    "removed, though not stored": Step(removed=[A1]),
    "changed, to what is stored": Step(changed=[moved(B, "09:58")]),
}


@pytest.mark.long
def test_a_merge_of_rows_that_are_not_stored_as_read_writes_nothing(stored: Lake) -> None:
    left = stored_rows(stored)
    for name, step in WRONG_ROWS.items():
        with pytest.raises(WrongChangesError, match="is not stored as it was read"):
            committed(stored, MERGE, changes_of(stored, step, BEFORE), BEFORE)
        assert (stored_rows(stored), stored.version(ODS_SESSIONS)) == (left, BEFORE), name


def test_a_row_that_is_marked_already_is_not_superseded_again(stored: Lake) -> None:
    left = stored_rows(stored)
    with pytest.raises(WrongChangesError, match="1 rows would be added and 0 superseded"):
        committed(stored, ROWS, changes_of(stored, Step(changed=[moved(B, "10:02")]), BEFORE - 1), BEFORE)
    assert (stored_rows(stored), stored.version(ODS_SESSIONS)) == (left, BEFORE)
