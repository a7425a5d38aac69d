"""The reference against values written by hand; all other code is compared with the reference."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions_assets_tests.histories import TIMEOUTS, USER_ACTIONS, populations
from sessions_assets_tests.reference import Event, Row, expected_table, refusal, session_id, sessionize

T = timedelta(seconds=300)
ARRIVAL = date(2025, 3, 18)
LATE_ARRIVAL = date(2025, 3, 21)


def at(clock: str) -> datetime:
    """Return a time of the day 2025-03-18, or of a full date and time."""
    return datetime.fromisoformat(clock if " " in clock else f"2025-03-18 {clock}")


def event(name: str, clock: str, user: str = "1", product: str = "I") -> Event:
    """Return an event with only the values that matter."""
    return Event(user, name, product, at(clock))


def row(name: str, clock: str, start: str | None, arrival: date = ARRIVAL) -> Row:
    """Return an expected row of user 1 and product I."""
    return Row(
        user_id="1",
        event_id=name,
        product_code="I",
        timestamp=at(clock),
        is_user_action=name in {"a", "b", "c"},
        session_id=None if start is None else f"1#I#2025-03-18 {start}",
        session_start=None if start is None else at(start),
        first_updated_at=arrival,
        pdate=date(2025, 3, 18),
    )


WORKED_EXAMPLE = [
    event("x", "09:59:00"),
    event("a", "10:00:00"),
    event("x", "10:04:00"),
    event("b", "10:08:00"),
    event("c", "10:13:00"),
    event("y", "10:18:00"),
    event("z", "10:18:01"),
]


def test_the_worked_example() -> None:
    assert expected_table({ARRIVAL: WORKED_EXAMPLE}, T, USER_ACTIONS) == [
        row("a", "10:00:00", "10:00:00"),
        row("b", "10:08:00", "10:08:00"),
        row("c", "10:13:00", "10:08:00"),
        row("x", "09:59:00", None),
        row("x", "10:04:00", "10:00:00"),
        row("y", "10:18:00", "10:08:00"),
        row("z", "10:18:01", None),
    ]


def test_the_worked_example_after_the_late_action() -> None:
    deliveries = {ARRIVAL: WORKED_EXAMPLE, LATE_ARRIVAL: [event("a", "10:04:30")]}
    assert expected_table(deliveries, T, USER_ACTIONS) == [
        row("a", "10:00:00", "10:00:00"),
        row("a", "10:04:30", "10:00:00", LATE_ARRIVAL),
        row("b", "10:08:00", "10:00:00"),
        row("c", "10:13:00", "10:00:00"),
        row("x", "09:59:00", None),
        row("x", "10:04:00", "10:00:00"),
        row("y", "10:18:00", "10:00:00"),
        row("z", "10:18:01", None),
    ]


CASES = [
    pytest.param("a 10:00:00 -> 10:00:00", id="an action opens a session"),
    pytest.param("x 10:00:00 -> -, a 10:00:01 -> 10:00:01", id="a native event before all actions stays empty"),
    pytest.param("a 10:00:00 -> 10:00:00, x 10:04:00 -> 10:00:00", id="a native event inside gets the session"),
    pytest.param("a 10:00:00 -> 10:00:00, x 10:05:00 -> 10:00:00", id="a native event exactly T after is inside"),
    pytest.param(
        "a 10:00:00 -> 10:00:00, x 10:05:00.000001 -> -", id="a native event a microsecond after T stays empty"
    ),
    pytest.param(
        "a 10:00:00 -> 10:00:00, b 10:04:59.999999 -> 10:00:00", id="a gap a microsecond under T is one session"
    ),
    pytest.param("a 10:00:00 -> 10:00:00, b 10:05:00 -> 10:00:00", id="a gap of exactly T is one session"),
    pytest.param(
        "a 10:00:00 -> 10:00:00, b 10:05:00.000001 -> 10:05:00.000001", id="a gap a microsecond over T is two"
    ),
    pytest.param(
        "a 10:00:00 -> 10:00:00, x 10:04:00 -> 10:00:00, b 10:08:00 -> 10:08:00",
        id="a native event does not bridge two sessions",
    ),
    pytest.param(
        "a 10:00:00 -> 10:00:00, x 10:07:00 -> -, b 10:08:00 -> 10:08:00",
        id="a native event does not hide the start of a session",
    ),
    pytest.param(
        "a 10:00:00 -> 10:00:00, x 10:04:00 -> 10:00:00, y 10:06:00 -> -",
        id="a native event does not prolong a session",
    ),
    pytest.param(
        "a 10:00:00 -> 10:00:00, A 10:00:00 -> 10:00:00",
        id="at one instant the action comes first, though its name sorts last",
    ),
    pytest.param("a 10:00:00 -> 10:00:00, b 10:00:00 -> 10:00:00", id="two actions at one instant are one session"),
    pytest.param(
        "a 2025-03-17 23:58:00 -> 2025-03-17 23:58:00, b 00:02:00 -> 2025-03-17 23:58:00",
        id="midnight keeps one session",
    ),
    pytest.param(
        "a 10:00:00 -> 10:00:00, a 10:05:00 -> 10:00:00, a 10:10:00 -> 10:00:00, x 10:15:00 -> 10:00:00",
        id="a chain keeps its first action as its start",
    ),
]


def read(case: str) -> dict[Event, datetime | None]:
    """Return the events of a case, each with its expected session start; `-` stands for none."""
    expected: dict[Event, datetime | None] = {}
    for part in case.split(", "):
        left, start = part.split(" -> ")
        name, clock = left.split(" ", 1)
        expected[event(name, clock)] = None if start == "-" else at(start)
    return expected


@pytest.mark.parametrize("case", CASES)
def test_session_starts(case: str) -> None:
    expected = read(case)
    assert sessionize(expected, T, USER_ACTIONS) == expected


def test_row_order_and_repetition_change_nothing() -> None:
    once = sessionize(WORKED_EXAMPLE, T, USER_ACTIONS)
    assert sessionize(WORKED_EXAMPLE[::-1] * 2, T, USER_ACTIONS) == once


def test_two_products_and_two_users_do_not_mix() -> None:
    mine, product, user = event("a", "10:00"), event("b", "10:01", product="II"), event("b", "10:02", user="01")
    starts = sessionize([mine, product, user], T, USER_ACTIONS)
    assert starts == {mine: at("10:00"), product: at("10:01"), user: at("10:02")}


def test_without_a_list_of_actions_every_event_is_one() -> None:
    starts = sessionize([event("x", "10:00"), event("y", "10:05"), event("a", "10:10")], T, None)
    assert set(starts.values()) == {at("10:00")}
    assert [row.is_user_action for row in expected_table({ARRIVAL: [event("x", "10:00")]}, T, None)] == [True]


@pytest.mark.parametrize(
    ("user", "product", "start", "expected"),
    [
        pytest.param("1", "I", "10:00:00", "1#I#2025-03-18 10:00:00", id="ordinary"),
        pytest.param("1#I", "2", "10:00:00", "1%23I#2#2025-03-18 10:00:00", id="number sign in the user id"),
        pytest.param("1", "I#2", "10:00:00", "1#I%232#2025-03-18 10:00:00", id="number sign in the product code"),
        pytest.param("1%23I", "2", "10:00:00", "1%2523I#2#2025-03-18 10:00:00", id="per cent sign"),
        pytest.param("1", "I", "10:00:00.5", "1#I#2025-03-18 10:00:00.500000", id="half a second"),
        pytest.param("1", "I", "10:00:00.000001", "1#I#2025-03-18 10:00:00.000001", id="a microsecond"),
        pytest.param("1", "I", "0987-01-02 00:00:00", "1#I#0987-01-02 00:00:00", id="four digits of the year"),
    ],
)
def test_session_id(user: str, product: str, start: str, expected: str) -> None:
    assert session_id(user, product, at(start)) == expected


@pytest.mark.parametrize(
    ("event_date", "expected"),
    [
        pytest.param(date(2025, 3, 12), "too_late", id="six days before the arrival"),
        pytest.param(date(2025, 3, 13), None, id="five days before"),
        pytest.param(date(2025, 3, 18), None, id="the day itself"),
        pytest.param(date(2025, 3, 19), None, id="the next day"),
        pytest.param(date(2025, 3, 20), "future", id="two days after"),
    ],
)
def test_refusal(event_date: date, expected: str | None) -> None:
    assert refusal(event_date, ARRIVAL, 5) == expected


@pytest.mark.parametrize(
    ("deliveries", "expected"),
    [
        pytest.param({ARRIVAL: []}, [], id="an empty batch gives no rows"),
        pytest.param(
            {ARRIVAL: [event("a", "10:00:00"), event("a", "10:00:00")]},
            [row("a", "10:00:00", "10:00:00")],
            id="a duplicate in one batch is one event",
        ),
        pytest.param(
            {LATE_ARRIVAL: [event("a", "10:00:00")], ARRIVAL: [event("a", "10:00:00")]},
            [row("a", "10:00:00", "10:00:00")],
            id="of two days that hold an event the least counts, in any order of arrival",
        ),
    ],
)
def test_identity(deliveries: Mapping[date, Sequence[Event]], expected: list[Row]) -> None:
    assert expected_table(deliveries, T, USER_ACTIONS) == expected


@settings(deadline=None)
@given(st.sampled_from(TIMEOUTS).flatmap(lambda timeout: st.tuples(st.just(timeout), populations(timeout))))
def test_an_event_has_a_session_exactly_if_a_session_interval_covers_it(case: tuple[timedelta, list[Event]]) -> None:
    """R2 defines sessions as closed intervals, R4 by the latest action: the two definitions agree."""
    timeout, events = case
    for one, start in sessionize(events, timeout, USER_ACTIONS).items():
        key = (one.user_id, one.product_code)
        actions = sorted(e.timestamp for e in events if (e[0], e[2]) == key and e.event_id in USER_ACTIONS)
        covers: list[tuple[datetime, datetime]] = []
        for action in actions:
            first = covers.pop()[0] if covers and action <= covers[-1][1] else action
            covers.append((first, action + timeout))
        assert [first for first, end in covers if first <= one.timestamp <= end] == ([start] if start else [])
