"""The rule on whole sets of events: named cases with their sessions, and random sets against the reference."""

from datetime import timedelta
from random import Random

import pytest
from pyspark.sql import SparkSession

from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import all_sessions
from sessions_assets_tests.histories import TIMEOUTS, TIMEOUTS_BY_PRODUCT, random_events
from sessions_assets_tests.reference import Event, Row, expected_table
from sessions_assets_tests.tables import day, event, frame, session_rows

Case = tuple[list[Event], list[str | None]]

# Events in time order, and for each the clock time at which its session starts, None for no session.
CASES: dict[str, Case] = {
    "action opens session": ([event("a", "10:00")], ["10:00:00"]),
    "native first stays empty": ([event("x", "09:59"), event("a", "10:00")], [None, "10:00:00"]),
    "native inside gets id": ([event("a", "10:00"), event("x", "10:04")], ["10:00:00", "10:00:00"]),
    "native exactly T after an action is inside": (
        [event("a", "10:00"), event("x", "10:05")],
        ["10:00:00", "10:00:00"],
    ),
    "native after timeout stays empty": ([event("a", "10:00"), event("x", "10:05:00.000001")], ["10:00:00", None]),
    "gap just under T": ([event("a", "10:00"), event("b", "10:04:59.999999")], ["10:00:00", "10:00:00"]),
    "gap exactly T": ([event("a", "10:00"), event("b", "10:05")], ["10:00:00", "10:00:00"]),
    "gap just over T by one microsecond": (
        [event("a", "10:00"), event("b", "10:05:00.000001")],
        ["10:00:00", "10:05:00.000001"],
    ),
    "native does not bridge": (
        [event("a", "10:00"), event("x", "10:04"), event("b", "10:08")],
        ["10:00:00", "10:00:00", "10:08:00"],
    ),
    "native does not hide a start": (
        [event("x", "09:58"), event("a", "10:00"), event("b", "10:03")],
        [None, "10:00:00", "10:00:00"],
    ),
    "same instant: action and native": (
        # "A-native" sorts before "a": the kind of event decides, not its id.
        [event("A-native", "10:00"), event("a", "10:00")],
        ["10:00:00", "10:00:00"],
    ),
    "same instant: two actions": ([event("a", "10:00"), event("b", "10:00")], ["10:00:00", "10:00:00"]),
    "two products do not mix": (
        [event("a", "10:00"), event("b", "10:02", product="II")],
        ["10:00:00", "10:02:00"],
    ),
    "two products: native of the other stays empty": (
        [event("a", "10:00"), event("x", "10:02", product="II")],
        ["10:00:00", None],
    ),
    "midnight keeps one session": (
        [event("a", "23:58"), event("b", "00:02", 1), event("x", "00:07", 1)],
        ["23:58:00", "23:58:00", "23:58:00"],
    ),
    "sub-second timestamps": (
        [event("a", "10:00:00.123456"), event("b", "10:05:00.123456"), event("c", "10:10:00.123457")],
        ["10:00:00.123456", "10:00:00.123456", "10:10:00.123457"],
    ),
    "duplicate in one batch": ([event("a", "10:00"), event("a", "10:00"), event("x", "10:01")], ["10:00:00"] * 2),
    "only natives": ([event("x", "10:00"), event("y", "10:01")], [None, None]),
    "worked example": (
        [
            event("x", "09:59"),
            event("a", "10:00"),
            event("x", "10:04"),
            event("b", "10:08"),
            event("c", "10:13"),
            event("y", "10:18"),
            event("z", "10:18:01"),
        ],
        [None, "10:00:00", "10:00:00", "10:08:00", "10:08:00", "10:08:00", None],
    ),
}


@pytest.fixture(scope="module")
def computed(spark: SparkSession) -> dict[str, list[Row]]:
    """All cases in one Spark job, each under its own user."""
    rows = [(row._replace(user_id=name), day(2)) for name, (events, _) in CASES.items() for row in events]
    found = session_rows(all_sessions(frame(spark, rows), SessionRule()))
    return {name: [row for row in found if row.user_id == name] for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, computed: dict[str, list[Row]]) -> None:
    found = sorted(computed[name], key=lambda row: (row.timestamp, row.event_id))
    starts = [None if row.session_start is None else row.session_start.time().isoformat() for row in found]
    assert starts == CASES[name][1]


def test_every_column_of_a_row(spark: SparkSession) -> None:
    """User and product are kept exactly, and escaped in the session id; its fraction is omitted if zero (R7, R9)."""
    events = [
        (event("a", "23:59:59.000010", user="00#7%", product="I#I"), day(3)),
        (event("x", "00:00:00", 1, user="00#7%", product="I#I"), day(1)),
        (event("x", "00:00:00", 1, user="00#7%", product="I#I"), day(2)),
        (event("a", "10:00", user="00"), day(1)),
        (event("x", "10:06", user="00"), day(1)),
    ]
    start = events[0][0].timestamp
    session = "00%237%25#I%23I#2025-03-10 23:59:59.000010"
    assert session_rows(all_sessions(frame(spark, events), SessionRule())) == [
        Row(*events[3][0], True, "00#I#2025-03-10 10:00:00", events[3][0].timestamp, day(1), day(0)),
        Row(*events[4][0], False, None, None, day(1), day(0)),
        Row(*events[0][0], True, session, start, day(3), day(0)),
        Row(*events[1][0], False, session, start, day(1), day(1)),
    ]


def test_every_event_is_an_action_under_a_star(spark: SparkSession) -> None:
    events = [(event("x", "10:00"), day(0)), (event("y", "10:04"), day(0))]
    found = session_rows(all_sessions(frame(spark, events), SessionRule(user_actions=None)))
    assert [(row.is_user_action, row.session_start) for row in found] == [(True, events[0][0].timestamp)] * 2


def test_a_product_may_have_its_own_timeout(spark: SparkSession) -> None:
    """To the microsecond, by its exact name; the others have the default (R27)."""
    half_hour = timedelta(minutes=30)
    rule = SessionRule(timeouts={"IDE": half_hour, "shop": timedelta(seconds=60), "other": timedelta(days=30)})
    clocks = ("10:00:00", "10:01:00", "10:02:00.000001", "10:07:00.000002", "10:37:00.000002", "11:07:00.000003")
    events = [(event("a", clock, product=name), day(0)) for name in ("IDE", "ide", "shop") for clock in clocks]
    starts: dict[str, list[str]] = {}
    for row in session_rows(all_sessions(frame(spark, events), rule)):
        starts.setdefault(row.product_code, []).append(f"{row.session_start:%H:%M}")
    assert starts == {
        "IDE": ["10:00"] * 5 + ["11:07"],
        "ide": ["10:00"] * 3 + ["10:07", "10:37", "11:07"],
        "shop": ["10:00"] * 2 + ["10:02", "10:07", "10:37", "11:07"],
    }


@pytest.mark.parametrize("timeout", [*TIMEOUTS, timedelta(seconds=1799, microseconds=999_999)], ids=str)
def test_random_sets_agree_with_the_reference(spark: SparkSession, timeout: timedelta) -> None:
    """Hundreds of dense random sets, packed into one Spark job, have the sessions of the reference."""
    others = TIMEOUTS_BY_PRODUCT[2]
    deliveries = {
        f"h{seed}": [
            row._replace(user_id=f"h{seed}")
            for row in random_events(Random(seed), timeout, timeouts=others)  # noqa: S311
        ]
        for seed in range(200)
    }
    actions = frozenset("ab")
    rule = SessionRule(timeout, actions, others)
    tables = [expected_table({day(9): rows}, timeout, actions, others) for rows in deliveries.values()]
    expected = [row for table in tables for row in table]
    rows = [(row, day(9)) for events in deliveries.values() for row in events]
    assert session_rows(all_sessions(frame(spark, rows), rule)) == sorted(expected)


def test_one_shuffle_and_one_sort_serve_all_windows(spark: SparkSession) -> None:
    events = frame(spark, [(event("a", "10:00"), day(0))])
    plan = all_sessions(events, SessionRule())._jdf.queryExecution().sparkPlan().toString()  # noqa: SLF001
    assert plan.count("Window ") > 1
    planned = all_sessions(events, SessionRule())._jdf.queryExecution().executedPlan().toString()  # noqa: SLF001
    assert (planned.count("Exchange hashpartitioning"), planned.count("Sort [")) == (1, 1)
    assert "Python" not in planned
