"""The reference: the rule in plain Python, slow and short, written from the text of the rule alone.

Every other implementation is compared with this one, so it shares neither code nor approach with them: it works on the
whole set of events at once, without batches, seeds or window functions.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple


class Event(NamedTuple):
    """One event; its four values are its identity (R1). The timestamp has no time zone and means UTC (R10)."""

    user_id: str
    event_id: str
    product_code: str
    timestamp: datetime


Values = tuple[str | None, ...]
"""The values of the carried attributes, in their order (R24)."""


class Delivered(Event):
    """An event as one row of a batch: equal to the event, with values of its own."""

    values: Values = ()


def with_values(event: Event, values: Values) -> Delivered:
    """Return a row of a batch with this event and these values."""
    row = Delivered(*event)
    row.values = values
    return row


def values_of(event: Event) -> Values:
    """Return the values of a row of a batch; none of an event alone."""
    return event.values if isinstance(event, Delivered) else ()


def ordered(values: Values) -> list[tuple[bool, str]]:
    """Return the sort key of values: by their order, a missing one last (R24)."""
    return [(value is None, value or "") for value in values]


class Row(NamedTuple):
    """One row of `ods_sessions`, its columns in the order of the table."""

    user_id: str
    event_id: str
    product_code: str
    timestamp: datetime
    is_user_action: bool
    session_id: str | None
    session_start: datetime | None
    first_updated_at: date
    pdate: date


def is_user_action(event_id: str, user_actions: frozenset[str] | None) -> bool:
    """Return whether an event is a user action; without a list of actions every event is one."""
    return user_actions is None or event_id in user_actions


Timeouts = Mapping[str, timedelta]
"""The timeout of the products that have another one (R27)."""


def sessionize(
    events: Iterable[Event], timeout: timedelta, user_actions: frozenset[str] | None, timeouts: Timeouts | None = None
) -> dict[Event, datetime | None]:
    """Return for each distinct event the start of its session, or None if it is in none (R1, R2, R4, R7, R27)."""
    distinct = set(events)
    others = timeouts or {}
    return {
        event: _session_start(event, distinct, others.get(event.product_code, timeout), user_actions)
        for event in distinct
    }


def _session_start(
    event: Event, events: set[Event], timeout: timedelta, user_actions: frozenset[str] | None
) -> datetime | None:
    """Return the start: from the latest action at or before the event, go back while gaps are at most T (R3 to R5)."""
    actions = {
        other.timestamp
        for other in events
        if (other.user_id, other.product_code) == (event.user_id, event.product_code)
        and is_user_action(other.event_id, user_actions)
    }
    within_reach = [at for at in actions if event.timestamp - timeout <= at <= event.timestamp]
    if not within_reach:
        return None
    start = max(within_reach)
    while earlier := [at for at in actions if start - timeout <= at < start]:
        start = min(earlier)
    return start


def session_id(user_id: str, product_code: str, session_start: datetime) -> str:
    """Return the id of a session from its key and its start (R9)."""
    return f"{_escape(user_id)}#{_escape(product_code)}#{session_start.isoformat(sep=' ')}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("#", "%23")


def expected_table(
    deliveries: Mapping[date, Sequence[Event]],
    timeout: timedelta,
    user_actions: frozenset[str] | None,
    timeouts: Timeouts | None = None,
) -> list[Row]:
    """Return the rows of ods_sessions, sorted, when the current delivery of every day is applied (R17, R18)."""
    first_updated_at = {
        event: min(day for day, held in deliveries.items() if event in held)
        for events in deliveries.values()
        for event in events
    }
    starts = sessionize(first_updated_at, timeout, user_actions, timeouts)
    return [
        Row(
            *event,
            is_user_action=is_user_action(event.event_id, user_actions),
            session_id=None if start is None else session_id(event.user_id, event.product_code, start),
            session_start=start,
            first_updated_at=first_updated_at[event],
            pdate=event.timestamp.date(),
        )
        for event, start in sorted(starts.items(), key=lambda item: item[0])
    ]


def expected_values(deliveries: Mapping[date, Sequence[Event]]) -> dict[Event, Values]:
    """Return the carried values of each event: of its first arrival day, of several rows the least (R24)."""
    found: dict[Event, Values] = {}
    for _, events in sorted(deliveries.items()):
        of_day: dict[Event, list[Values]] = {}
        for event in events:
            of_day.setdefault(Event(*event), []).append(values_of(event))
        found = {event: min(values, key=ordered) for event, values in of_day.items()} | found
    return found


class Summary(NamedTuple):
    """One row of `sessions`, its columns in the order of the table (R28)."""

    session_id: str
    user_id: str
    product_code: str
    session_start: datetime
    session_end: datetime
    duration_seconds: float
    user_actions: int
    events: int
    first_action: str
    last_action: str
    first_updated_at: date
    last_updated_at: date
    start_date: date


def expected_summaries(rows: Iterable[Row]) -> list[Summary]:
    """Return the summaries of the sessions of these rows, sorted (R28)."""
    by_session: dict[str, list[Row]] = {}
    for row in rows:
        if row.session_id is not None:
            by_session.setdefault(row.session_id, []).append(row)
    return sorted(_summary(session, events) for session, events in by_session.items())


def _summary(session: str, events: Sequence[Row]) -> Summary:
    actions = sorted((row.timestamp, row.event_id) for row in events if row.is_user_action)
    arrivals = [row.first_updated_at for row in events]
    (start, first), (end, last) = actions[0], actions[-1]
    return Summary(
        session, *(events[0].user_id, events[0].product_code), start, end, (end - start).total_seconds(),
        len(actions), len(events), first, last, min(arrivals), max(arrivals), start.date(),
    )  # fmt: skip


class IdChange(NamedTuple):
    """Rows that a commit moved from a session to another one, or to none, and what that means (R29)."""

    old_session_id: str
    new_session_id: str | None
    kind: str
    rows: int


def expected_id_changes(before: Iterable[Row], after: Iterable[Row]) -> list[IdChange]:
    """Return between which ids rows moved, sorted (R29)."""
    old = {row[:4]: row.session_id for row in before}
    new = {row[:4]: row.session_id for row in after}
    moved: dict[tuple[str, str | None], int] = {}
    for event, session in old.items():
        if session is not None and session != new.get(event):
            moved[session, new.get(event)] = moved.get((session, new.get(event)), 0) + 1
    there_before, there_after = {*old.values()}, {*new.values()}
    kinds = {pair: _kind(pair, moved, there_before, there_after) for pair in moved}
    return sorted((IdChange(*pair, kinds[pair], rows) for pair, rows in moved.items()), key=str)


def _kind(
    pair: tuple[str, str | None],
    moved: Iterable[tuple[str, str | None]],
    before: Collection[str | None],
    after: Collection[str | None],
) -> str:
    session, other = pair
    if other is None:
        return "ended"
    if session in after or len([new for old, new in moved if old == session and new is not None]) > 1:
        return "split"
    if other in before or len([old for old, new in moved if new == other]) > 1:
        return "joined"
    return "renamed"


def followed(session: str, version: int, changes: Iterable[tuple[int, IdChange]]) -> set[str]:
    """Return the ids to which the rows of a session may have moved since a version, itself among them (R29).

    Args:
        session: its id.
        version: the version of ods_sessions at which it had it.
        changes: each with its version, in their order.
    """
    reached = {session}
    for at, change in changes:
        if at > version and change.old_session_id in reached and change.new_session_id is not None:
            reached.add(change.new_session_id)
    return reached


def lost_ids(versions: Mapping[int, Iterable[Row]], changes: Sequence[tuple[int, IdChange]]) -> list[str]:
    """Return the ids of any version that do not lead to those that hold their rows at the last one (R29).

    A row that was in no session in between has ended there.

    Args:
        versions: the rows of ods_sessions at consecutive versions.
        changes: what changed ids, each with its version, in their order.
    """
    lost: list[str] = []
    # What a row is in today, if it was in a session ever since.
    today: dict[tuple[object, ...], str] = {}
    for version in sorted(versions, reverse=True):
        rows = [row for row in versions[version] if row.session_id is not None]
        if version == max(versions):
            today = {row[:4]: str(row.session_id) for row in rows}
        today = {row[:4]: today[row[:4]] for row in rows if row[:4] in today}
        held: dict[str, set[str]] = {}
        for row in rows:
            if row[:4] in today:
                held.setdefault(str(row.session_id), set()).add(today[row[:4]])
        lost += [session for session, ids in held.items() if not ids <= followed(session, version, changes)]
    return lost


def refusal(event_date: date, arrival: date, lateness_days: int) -> str | None:
    """Return the reason why a batch may not hold an event of this date, or None if it may (R11, R12, R13)."""
    if event_date < arrival - timedelta(days=lateness_days):
        return "too_late"
    if event_date > arrival + timedelta(days=1):
        return "future"
    return None
