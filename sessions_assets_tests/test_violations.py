"""Damaged tables: each kind of damage is found, on its day, and nothing else is found.

Each case has its own arrival day and user in one lake. Its rows are damaged after the days were applied; then all days
are inspected at once, as in a range run. What the checks find of a wrong rule is tested in `test_mutations`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, timedelta

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets.lake.writes import replace_all
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.inspections import Inspection, inspect, inspect_all
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event, Row, session_id
from sessions_assets_tests.tables import at, day, event, stored_rows, write_batches

RULE = SessionRule()
# a, x and b are one session, y is in none, c is a session of its own.
EVENTS = (("a", "10:00"), ("x", "10:02"), ("b", "10:04"), ("y", "10:20"), ("c", "10:30"))

Damage = Callable[[dict[str, Row]], Iterable[Row]]


def moved(row: Row, clock: str) -> Row:
    """Return a row in the session that starts at this time of its arrival day."""
    start = at(clock, (row.first_updated_at - day(0)).days)
    return row._replace(session_start=start, session_id=session_id(row.user_id, row.product_code, start))


def emptied(row: Row) -> Row:
    return row._replace(session_start=None, session_id=None)


def without(rows: dict[str, Row], event_id: str) -> list[Row]:
    return [row for name, row in rows.items() if name != event_id]


def with_one_changed(event_id: str, change: Callable[[Row], Row]) -> Damage:
    return lambda rows: [*without(rows, event_id), change(rows[event_id])]


def begun_too_early(rows: dict[str, Row]) -> list[Row]:
    return [*[moved(rows[name], "09:59") for name in "axb"], rows["y"], rows["c"]]


def never_delivered(rows: dict[str, Row]) -> list[Row]:
    seconds = [timedelta(seconds=number) for number in range(6)]
    return [*rows.values(), *[rows["y"]._replace(event_id="z", timestamp=rows["y"].timestamp + s) for s in seconds]]


# How the rows of a day are damaged, and by check the events that fail it afterwards.
CASES: dict[str, tuple[Damage, dict[str, str]]] = {
    "nothing": (lambda rows: rows.values(), {}),
    "a row twice": (lambda rows: [*rows.values(), rows["a"]], {"one_row_per_event": "a"}),
    "a native row twice": (lambda rows: [*rows.values(), rows["y"]], {"one_row_per_event": "y"}),
    "a blank product": (
        with_one_changed("y", lambda row: row._replace(product_code=" ")),
        {"keys_present": "y", "every_event_is_there": "y", "first_arrival_is_held": "y"},
    ),
    "an action without session": (
        with_one_changed("c", emptied),
        {"actions_have_sessions": "c", "recompute_agrees": "c"},
    ),
    "a session that starts before its first action": (
        begun_too_early,
        {"sessions_start_with_an_action": "axb", "gaps_decide_sessions": "a", "recompute_agrees": "axb"},
    ),
    "two near actions apart": (
        with_one_changed("b", lambda row: moved(row, "10:04")),
        {"gaps_decide_sessions": "b", "recompute_agrees": "b"},
    ),
    "two far actions together": (
        with_one_changed("c", lambda row: moved(row, "10:00")),
        {"gaps_decide_sessions": "c", "recompute_agrees": "c"},
    ),
    "a native event left out": (
        with_one_changed("x", emptied),
        {"native_events_follow_actions": "x", "recompute_agrees": "x"},
    ),
    "a native event too late for its session": (
        with_one_changed("y", lambda row: moved(row, "10:00")),
        {"native_events_follow_actions": "y", "recompute_agrees": "y"},
    ),
    "another id": (
        with_one_changed("c", lambda row: row._replace(session_id="u#I#2025-03-10")),
        {"session_id_is_its_parts": "c"},
    ),
    "another date": (
        with_one_changed("y", lambda row: row._replace(pdate=row.pdate + timedelta(days=1))),
        {"pdate_is_the_utc_date": "y"},
    ),
    "an event lost": (lambda rows: without(rows, "y"), {"every_event_is_there": "y"}),
    "events that no batch holds": (never_delivered, {"first_arrival_is_held": "zzzzzz"}),
    "a later arrival than the first": (
        with_one_changed("y", lambda row: row._replace(first_updated_at=row.first_updated_at + timedelta(days=100))),
        {"first_arrival_is_held": "y"},
    ),
    "a native event called an action": (
        with_one_changed("y", lambda row: row._replace(is_user_action=True)),
        {"actions_have_sessions": "y", "recompute_agrees": "y"},
    ),
}
DAY_OF = {name: day(number) for number, name in enumerate(CASES)}


@dataclass
class Damaged:
    """The damaged lake, and what was found in it."""

    lake: Lake
    found: dict[date, Inspection]


def replace_rows(lake: Lake, rows: Iterable[Row]) -> None:
    """Replace all rows of ods_sessions."""
    aware = [
        row._replace(
            timestamp=row.timestamp.replace(tzinfo=UTC),
            session_start=row.session_start and row.session_start.replace(tzinfo=UTC),
        )
        for row in rows
    ]
    schema = lake.read(ODS_SESSIONS).schema
    frame = lake.spark.createDataFrame(aware, schema)
    replace_all(lake.spark, lake.snapshot(ODS_SESSIONS), frame, {}, {})


@pytest.fixture(scope="module")
def damaged(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    folder = tmp_path_factory.mktemp("damaged")
    lake = Lake(spark, str(folder / "lake"))
    batches: dict[date, list[Event]] = {
        arrival: [event(name, clock, number, user=f"u{number}") for name, clock in EVENTS]
        for number, arrival in enumerate(DAY_OF.values())
    }
    write_batches(folder / "landing", batches)
    land(lake.spark, lake, Landing(str(folder / "landing")), list(batches), LATENESS_DAYS)
    apply(lake.spark, lake, list(batches), RULE)
    stored: dict[date, dict[str, Row]] = {arrival: {} for arrival in batches}
    for row in stored_rows(lake):
        stored[row.first_updated_at][row.event_id] = row
    replace_rows(lake, [row for name, (damage, _) in CASES.items() for row in damage(stored[DAY_OF[name]])])
    return Damaged(lake, inspect(lake.spark, lake, list(batches), RULE))


@pytest.mark.parametrize("name", CASES)
def test_damage_is_found_on_its_day(damaged: Damaged, name: str) -> None:
    """The number of rows that fail each check is right, and up to five of them are shown."""
    found, expected = damaged.found[DAY_OF[name]], CASES[name][1]
    assert found.broken == {kind: len(events) for kind, events in expected.items()}
    shown = {kind: "".join(sorted(row["event_id"] for row in rows)) for kind, rows in found.examples.items()}
    assert shown == {kind: "".join(sorted(events))[:5] for kind, events in expected.items()}


def test_a_day_alone_is_judged_as_in_a_range(damaged: Damaged) -> None:
    name = "a session that starts before its first action"
    alone = inspect(damaged.lake.spark, damaged.lake, [DAY_OF[name]], RULE)[DAY_OF[name]]
    assert (alone.broken, alone.examples) == (damaged.found[DAY_OF[name]].broken, damaged.found[DAY_OF[name]].examples)
    assert (alone.rows_accepted, alone.rows_late) == (5, 0)


def test_an_offending_row_is_shown_with_its_values(damaged: Damaged) -> None:
    (row,) = damaged.found[DAY_OF["another id"]].examples["session_id_is_its_parts"]
    assert (row["user_id"], row["product_code"], row["session_id"]) == ("u10", "I", "u#I#2025-03-10")


def test_the_whole_table_is_judged_with_all_batches(damaged: Damaged) -> None:
    expected: dict[str, int] = {}
    for _, broken in CASES.values():
        for kind, events in broken.items():
            expected[kind] = expected.get(kind, 0) + len(events)
    found = inspect_all(damaged.lake.spark, damaged.lake, RULE)
    assert found.broken == expected
    assert (len(found.examples["recompute_agrees"]), found.rows_accepted) == (5, 5 * len(CASES))
