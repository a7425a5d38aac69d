"""Carried attributes (R24): columns of ods_sessions whose values follow the deliveries, as they are added and taken."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sessions_assets.lake.lake import MERGE, LakeError
from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.inspections import inspect, inspect_all
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.results import ApplyResult
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.violations import VALUES as VALUES_CHECK
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event, Values, values_of, with_values
from sessions_assets_tests.tables import day, event, stored_rows, write_batches

NAMES = ("url", "user-agent")
RULE = SessionRule(carried=NAMES)
PLAIN = SessionRule()

A, B, X = event("a", "10:00"), event("b", "10:02"), event("x", "10:03")


class Site:
    """A lake whose batches have two attributes."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake, self.folder = lake, folder

    def run(self, batches: Mapping[int, Sequence[Event]], rule: SessionRule = RULE) -> ApplyResult:
        """Deliver batches, and apply them in one run."""
        self.land(batches)
        return apply(self.lake.spark, self.lake, [day(number) for number in batches], rule)

    def land(self, batches: Mapping[int, Sequence[Event]]) -> None:
        """Deliver batches."""
        by_day = {day(number): list(events) for number, events in batches.items()}
        write_batches(self.folder, by_day, NAMES)
        land(self.lake.spark, self.lake, Landing(str(self.folder)), list(by_day), 5)

    def values(self, columns: str = 'url, "user-agent"') -> dict[str, tuple[Any, ...]]:
        """Return the values of each event, by its id."""
        return {row[0]: row[1:] for row in self.lake.rows(ODS_SESSIONS, f"event_id, {columns}")}

    def columns(self) -> list[str]:
        """Return the columns of the table that no session needs."""
        return [name for name in self.lake.snapshot(ODS_SESSIONS).columns() if name not in _OWN]

    def broken(self, days: Sequence[date], rule: SessionRule = RULE) -> set[str]:
        """Return which checks fail on these days; the same fail for the whole table."""
        found = inspect(self.lake.spark, self.lake, days, rule)
        names = {name for inspection in found.values() for name in inspection.broken}
        assert names == set(inspect_all(self.lake.spark, self.lake, rule).broken)
        return names


_OWN = {column.name for column in ODS_SESSIONS.columns}


@pytest.fixture
def case(lake: Lake, tmp_path: Path) -> Site:
    return Site(lake, tmp_path / "landing")


def row(of: Event, *values: str | None) -> Event:
    return with_values(of, values)


# What is delivered on arrival days in the order of the runs, and the values that `a` has then.
RUNS: dict[str, tuple[list[dict[int, list[Event]]], Values]] = {
    "of one row": ([{1: [row(A, "/1", "m")]}], ("/1", "m")),
    "of the earliest arrival day": ([{1: [row(A, "/2", "m")], 2: [row(A, "/1", "m")]}], ("/2", "m")),
    "of a later day that lands first": ([{2: [row(A, "/1", "m")]}, {1: [row(A, "/2", None)]}], ("/2", None)),
    "the least of several rows": ([{1: [row(A, "/2", "a"), row(A, "/1", "z")]}], ("/1", "z")),
    "by the second if the first are equal": ([{1: [row(A, "/1", "z"), row(A, "/1", "a")]}], ("/1", "a")),
    "NULL last": ([{1: [row(A, None, "a"), row(A, "/9", None)]}], ("/9", None)),
    "NULL last in the second": ([{1: [row(A, "/1", None), row(A, "/1", "z")]}], ("/1", "z")),
    "of another day once the first has lost it": (
        [{1: [row(A, "/1", "m")], 2: [row(A, "/2", "m"), row(A, "/0", "m")]}, {1: []}],
        ("/0", "m"),
    ),
    "of the same day, delivered again": ([{1: [row(A, "/1", "m")]}, {1: [row(A, "/1", "n")]}], ("/1", "n")),
    "a value is taken back": ([{1: [row(A, "/1", "m")]}, {1: [row(A, None, None)]}], (None, None)),
}


def test_an_event_has_the_values_of_its_first_delivery(case: Site) -> None:
    """All cases in one table, each with a user of its own."""
    current: dict[str, dict[int, list[Event]]] = {name: {} for name in RUNS}
    for number in range(2):
        delivered = {name: runs[number] for name, (runs, _) in RUNS.items() if number < len(runs)}
        for name, batches in delivered.items():
            current[name] |= batches
        days = {day for batches in delivered.values() for day in batches}
        case.run({day: [_of(name, e) for name in RUNS for e in current[name].get(day, [])] for day in days})
    found = {name: values for name, *values in case.lake.rows(ODS_SESSIONS, 'user_id, url, "user-agent"')}
    assert found == {name: list(expected) for name, (_, expected) in RUNS.items() if any(current[name].values())}
    assert case.broken([day(1), day(2)]) == set()


def _of(user: str, row: Event) -> Event:
    return with_values(row._replace(user_id=user), values_of(row))


@pytest.mark.long
def test_a_difference_in_the_values_alone_is_a_change(case: Site) -> None:
    """In one row, which keeps its session; the same batch again changes nothing (R19)."""
    case.run({1: [row(A, "/1", "m"), row(B, "/1", "m"), row(X, None, None)]})
    before = stored_rows(case.lake)
    result = case.run({1: [row(A, "/1", "m"), row(B, "/2", "m"), row(X, None, None)]})
    assert result.rows == {"inserted": 0, "changed": 1, "removed": 0}
    assert case.values() == {"a": ("/1", "m"), "b": ("/2", "m"), "x": (None, None)}
    assert stored_rows(case.lake) == before
    version = case.lake.version(ODS_SESSIONS)
    case.run({1: [row(B, "/2", "m"), row(X, None, None), row(A, "/1", "m")]})
    assert case.lake.version(ODS_SESSIONS) == version


def test_a_name_is_added_and_taken_away(case: Site) -> None:
    """Rows stored before have NULL until they are applied; a name taken away keeps its values, new rows have NULL.

    By MERGE: the other tests commit by row address.
    """
    case.lake.commit = MERGE
    first, second = {1: [row(A, "/1", "m")]}, {2: [row(B, "/2", "n")]}
    case.run(first, PLAIN)
    assert case.columns() == []
    case.run(second, SessionRule(carried=("url",)))
    assert (case.columns(), case.values("url")) == (["url"], {"a": (None,), "b": ("/2",)})
    assert case.broken([day(2)], SessionRule(carried=("url",))) == set()

    days = [day(1), day(2)]
    result = apply(case.lake.spark, case.lake, days, RULE)
    assert result.rows == {"inserted": 0, "changed": 2, "removed": 0}
    assert (case.columns(), case.values()) == ([*NAMES], {"a": ("/1", "m"), "b": ("/2", "n")})
    assert sum(apply(case.lake.spark, case.lake, days, RULE).rows.values()) == 0

    # Of b the session changes, so that its row is written again.
    taken = SessionRule(carried=("user-agent",))
    case.run({1: [], 3: [row(X, "/3", "o")]}, taken)
    assert case.values() == {"b": ("/2", "n"), "x": (None, "o")}
    assert [found.session_start for found in stored_rows(case.lake)] == [B.timestamp, B.timestamp]
    assert case.broken([day(2), day(3)], taken) == set()


def test_a_rebuild_takes_the_values_of_the_raw_rows_that_are_kept(case: Site) -> None:
    """Of an expired day the stored ones stay; those of a name that is carried no more, too."""
    newest = event("c", "10:00", 20)
    case.run({1: [row(A, "/1", "m")], 20: [row(newest, "/3", None)]}, SessionRule(carried=("url",)))
    assert maintain.expire(case.lake.spark, case.lake) == [day(1)]
    case.run({20: [row(newest, "/4", "o"), row(newest, "/3", "n")]}, PLAIN)
    rebuilt = maintain.rebuild(case.lake.spark, case.lake, SessionRule(carried=("user-agent",)))
    assert rebuilt.before == rebuilt.after
    assert case.values() == {"a": ("/1", None), "c": ("/3", "n")}


@pytest.mark.long
def test_a_rebuild_gives_what_applying_gives(case: Site) -> None:
    batches = {1: [row(A, "/2", "m"), row(A, "/1", None)], 2: [row(B, None, "n"), row(A, "/0", "m")]}
    case.run(batches, PLAIN)
    maintain.rebuild(case.lake.spark, case.lake, RULE)
    assert case.values() == {"a": ("/1", None), "b": (None, "n")}
    version = case.lake.version(ODS_SESSIONS)
    assert sum(apply(case.lake.spark, case.lake, [day(1), day(2)], RULE).rows.values()) == 0
    assert case.lake.version(ODS_SESSIONS) == version


@pytest.mark.long
def test_what_a_run_that_carried_others_has_changed_is_mended(case: Site) -> None:
    """Each change of the names is in the table's history: days applied before it are applied again when asked for."""
    url = SessionRule(carried=("url",))
    case.run({1: [row(A, "/1", "z"), row(A, "/2", "a")], 2: [row(A, "/3", "m")]}, url)
    case.run({1: []}, PLAIN)
    assert case.values("first_updated_at, url") == {"a": (day(2), "/1")}
    result = apply(case.lake.spark, case.lake, [day(2)], url)
    assert result.rows == {"inserted": 0, "changed": 1, "removed": 0}
    assert case.values("url") == {"a": ("/3",)}

    case.run({1: [row(A, "/1", "z"), row(A, "/2", "a")]}, RULE)
    maintain.rebuild(case.lake.spark, case.lake, SessionRule(carried=("user-agent",)))
    assert case.values() == {"a": ("/1", "a")}
    apply(case.lake.spark, case.lake, [day(1)], RULE)
    assert case.values() == {"a": ("/1", "z")}
    assert case.broken([day(1), day(2)]) == set()


def test_the_names_of_the_project_itself_can_be_carried(lake: Lake, tmp_path: Path) -> None:
    """Whatever the code calls its own columns; quotes in a name are part of it."""
    names = (
        "since",
        "change",
        "row_address",
        "arrival",
        "is_seed",
        "carried",
        "kept",
        "value_0",
        "it's",
        'a"`b',
        "day",
    )
    write_batches(tmp_path, {day(1): [with_values(A, tuple(map(str, range(len(names)))))]}, names)
    land(lake.spark, lake, Landing(str(tmp_path)), [day(1)], 5)
    apply(lake.spark, lake, [day(1)], PLAIN)
    rule = SessionRule(carried=names)
    apply(lake.spark, lake, [day(1)], rule)
    lake.commit = MERGE
    write_batches(tmp_path, {day(2): [with_values(B, tuple(map(str, range(len(names)))))]}, names)
    land(lake.spark, lake, Landing(str(tmp_path)), [day(2)], 5)
    apply(lake.spark, lake, [day(2)], rule)
    listed = ", ".join('"{}"'.format(name.replace('"', '""')) for name in names)
    assert lake.rows(ODS_SESSIONS, listed) == [tuple(map(str, range(len(names))))] * 2
    assert inspect_all(lake.spark, lake, rule).broken == {}


def test_a_name_that_no_batch_has_is_reported_and_one_that_the_table_cannot_have_is_refused(case: Site) -> None:
    result = case.run({1: [row(A, "/1", "m")]}, SessionRule(carried=("url", "referrer")))
    assert result.absent == ("referrer",)
    assert case.values("url, referrer") == {"a": ("/1", None)}
    table = case.lake.path(ODS_SESSIONS)
    with pytest.raises(LakeError, match=r"has column url: carry url, for URL cannot be beside it"):
        apply(case.lake.spark, case.lake, [day(1)], SessionRule(carried=("URL",)))
    case.lake.spark.sql(f"ALTER TABLE delta.`{table}` ADD COLUMNS (price DOUBLE)")
    with pytest.raises(LakeError, match="has column price of type double: a carried attribute needs string"):
        maintain.rebuild(case.lake.spark, case.lake, SessionRule(carried=("price",)))


def test_a_run_between_the_columns_and_the_rows_is_noticed(case: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows were computed from a version that is no longer the one before."""
    case.run({1: [row(A, "/1", "m")]}, PLAIN)
    case.land({2: [row(B, "/2", "n")]})
    table = case.lake.path(ODS_SESSIONS)
    sql = case.lake.spark.sql

    def overtaken(text: str) -> Any:  # noqa: ANN401 - as Spark has it
        if "ADD COLUMNS" in text:
            sql(f"DELETE FROM delta.`{table}`")  # noqa: S608
        return sql(text)

    monkeypatch.setattr(case.lake.spark, "sql", overtaken)
    with pytest.raises(LakeError, match=r"another run has written .* since version 3"):
        apply(case.lake.spark, case.lake, [day(2)], RULE)
    assert case.values("user_id") == {}
    assert case.lake.ledger.entries()[day(2)].applied_at is None
    monkeypatch.undo()
    apply(case.lake.spark, case.lake, [day(1), day(2)], RULE)
    assert case.values() == {"a": ("/1", "m"), "b": ("/2", "n")}


def test_wrong_values_are_found(case: Site) -> None:
    """By the check of the day that brought the event, and of the whole table."""
    case.run({1: [row(A, "/1", "m"), row(A, "/2", "m")], 2: [row(B, "/1", "m")]})
    assert case.broken([day(1), day(2)]) == set()
    table = case.lake.path(ODS_SESSIONS)
    case.lake.spark.sql(f"UPDATE delta.`{table}` SET url = '/2' WHERE event_id = 'a'")  # noqa: S608
    assert case.broken([day(1)]) == {VALUES_CHECK}
    found = inspect(case.lake.spark, case.lake, [day(1), day(2)], RULE)
    assert found[day(2)].broken == {}
    apply(case.lake.spark, case.lake, [day(1)], RULE)
    assert case.broken([day(1), day(2)]) == set()
