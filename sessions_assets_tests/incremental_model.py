"""The model: the incremental algorithm in plain Python, with the names that the Spark code uses.

It updates the table from what a batch changes (R14), as the Spark code does with data frames. In plain Python thousands
of histories of deliveries are compared with the reference within seconds.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sessions_assets_tests.reference import Event, Timeouts, Values, ordered, values_of

Key = tuple[str, str]


class Stored(NamedTuple):
    """What the table stores of an event, beside its four values."""

    first_updated_at: date
    session_start: datetime | None
    values: Values = ()


def key_of(event: Event) -> Key:
    """Return the key of an event: sessions never contain two keys (R7)."""
    return event.user_id, event.product_code


class IncrementalModel:
    """The raw partitions, the stored table, and how a run changes it.

    Two invariants hold after every landing and every run; R18 follows from them.
    Each stored event: the partition of its `first_updated_at` holds it, or that day has landed again and is pending.
    Each event of an applied day: it is stored, and its `first_updated_at` is not later than that day.
    """

    def __init__(
        self,
        timeout: timedelta,
        user_actions: frozenset[str] | None,
        retention: timedelta = timedelta.max,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.timeout = timeout
        self.timeouts = dict(timeouts or {})
        self.user_actions = user_actions
        self.retention = retention
        self.raw: dict[date, list[Event]] = {}
        self.ods: dict[Event, Stored] = {}
        self.delivered: set[date] = set()
        self.pending: set[date] = set()
        self.newest_expired = date.min

    def land(self, day: date, events: Iterable[Event]) -> None:
        """Replace a raw partition; duplicates are kept as delivered (R17).

        Raises:
            LookupError: if the day is closed (R21).
        """
        if self.is_closed(day):
            raise LookupError(f"{day} has expired")
        self.raw[day] = list(events)
        self.delivered.add(day)
        self.pending.add(day)
        self.expire()

    def is_closed(self, day: date) -> bool:
        """Return whether a day is closed: applied, and not newer than a day that has expired (R21)."""
        return day in self.delivered - self.pending and day <= self.newest_expired

    def expire(self) -> None:
        """Drop raw partitions that are older than the retention, but none that is newer than a pending day (R21).

        An event that the pending day has lost may be held by a newer day, so the newer one must still be there.
        """
        applied = self.delivered - self.pending
        for day in [day for day in self.raw if day in applied and max(applied) - day > self.retention]:
            if self.may_leave(day):
                del self.raw[day]
                self.newest_expired = max(day, self.newest_expired)

    def may_leave(self, day: date) -> bool:
        """Return whether no older day is pending."""
        return day < min(self.pending, default=date.max)

    def apply(self, days: Collection[date]) -> int:
        """Update the table with what these days hold now; return the number of rows written (R19).

        Raises:
            LookupError: if one of the days never landed (R20) or is closed (R21). Nothing is written then.
        """
        if missing := sorted(day for day in days if day not in self.raw or self.is_closed(day)):
            raise LookupError(f"there is no batch of {', '.join(map(str, missing))}")
        written = self.merge(days)
        self.pending -= set(days)
        self.expire()
        return written

    def merge(self, days: Collection[date]) -> int:
        """Write what these days change, key by key; return the number of rows written (R14, R19)."""
        stored_of_days = [event for event, row in self.ods.items() if row.first_updated_at in days]
        incoming = self.incoming(stored_of_days, days)
        changed: dict[Key, list[Event]] = {}
        for event in [*incoming, *stored_of_days]:
            changed.setdefault(key_of(event), []).append(event)
        written = 0
        for key, events in changed.items():
            written += self.write(self.rows_of_key(key, events, incoming, days))
        return written

    def incoming(self, stored_of_days: list[Event], days: Collection[date]) -> dict[Event, date]:
        """Return the events of the batch, and those that it has lost but another day holds (R17).

        The value of each event is its least arrival day (R1).
        """
        batch = [(event, day) for day in days for event in self.raw[day]]
        vanished = {event for event in stored_of_days if event not in self.raw[self.ods[event].first_updated_at]}
        least: dict[Event, date] = {}
        for event, arrival in [*batch, *self.holders(vanished, days)]:
            least[event] = min(arrival, least.get(event, arrival))
        return least

    def holders(self, vanished: set[Event], days: Collection[date]) -> list[tuple[Event, date]]:
        """Return the vanished events that other days hold, applied or not, each with that day (R17)."""
        others = [day for day in self.raw if day not in days]
        return [(event, day) for day in others for event in self.raw[day] if event in vanished]

    def rows_of_key(
        self, key: Key, changed: list[Event], incoming: dict[Event, date], days: Collection[date]
    ) -> Iterator[tuple[Event, Stored | None]]:
        """Return the rows of one key from its earliest change on; None for an event that no day holds (R14)."""
        since = min(event.timestamp for event in changed)
        mine = {event for event in incoming if key_of(event) == key}
        context = set(self.context(key, since, changed))
        first_updated_at: dict[Event, date] = {}
        for event in mine | context:
            arrivals = self.arrivals(event, incoming, days)
            if arrivals:
                first_updated_at[event] = min(arrivals)
            else:
                yield event, None
        seed = self.seed(key, since)
        for event, start in self.one_pass(seed, first_updated_at):
            day = first_updated_at[event]
            yield event, Stored(day, start, self.values(event, day, days))

    def context(self, key: Key, since: datetime, changed: list[Event]) -> list[Event]:  # noqa: ARG002 (an override uses it)
        """Return the stored events of a key from `since` on, whatever their date (R14)."""
        return [event for event in self.ods if key_of(event) == key and event.timestamp >= since]

    def seed(self, key: Key, since: datetime) -> list[Event]:
        """Return the stored actions of a key in [since - T, since): their session may go on (R14, R15)."""
        return [
            event
            for event in self.ods
            if key_of(event) == key
            and self.is_action(event)
            and since - self.timeout_of(event) <= event.timestamp < since
        ]

    def arrivals(self, event: Event, incoming: dict[Event, date], days: Collection[date]) -> list[date]:
        """Return the days that hold an event; the stored first day counts unless it is applied again (R1, R17)."""
        found = [incoming[event]] if event in incoming else []
        if event in self.ods and self.ods[event].first_updated_at not in days:
            found.append(self.ods[event].first_updated_at)
        return found

    def values(self, event: Event, day: date, days: Collection[date]) -> Values:
        """Return the carried values of an event: those of its first day, stored unless it is applied again (R24)."""
        stored = self.ods.get(event)
        if stored and stored.first_updated_at == day and day not in days:
            return stored.values
        return self.pick([values_of(row) for row in self.raw[day] if row == event])

    def pick(self, rows: list[Values]) -> Values:
        """Return the values of an event that a day holds in several rows: the least (R24)."""
        return min(rows, key=ordered, default=())

    def one_pass(self, seed: Collection[Event], held: Collection[Event]) -> Iterator[tuple[Event, datetime | None]]:
        """Return each held event with its session start, in the order timestamp, action first, event_id (R2 to R5)."""
        last: datetime | None = None
        start: datetime | None = None
        for event in sorted({*seed, *held}, key=self.order):
            inside = last is not None and self.within(last, event)
            if event in seed:
                start = self.ods[event].session_start
            elif self.is_action(event) and not inside:
                start, inside = event.timestamp, True
            if self.advances(event):
                last = event.timestamp
            if event not in seed:
                yield event, start if inside else None

    def is_action(self, event: Event) -> bool:
        """Return whether an event is a user action."""
        return self.user_actions is None or event.event_id in self.user_actions

    def order(self, event: Event) -> tuple[datetime, bool, str]:
        """Return the sort key: time, at one instant the action first (R5)."""
        return event.timestamp, not self.is_action(event), event.event_id

    def timeout_of(self, event: Event) -> timedelta:
        """Return T of the event's product (R27)."""
        return self.timeouts.get(event.product_code, self.timeout)

    def within(self, last: datetime, event: Event) -> bool:
        """Return whether an event is at most T after the last action (R3, R6)."""
        return event.timestamp - last <= self.timeout_of(event)

    def advances(self, event: Event) -> bool:
        """Return whether the timeout starts again at this event: at actions only (R4)."""
        return self.is_action(event)

    def differs(self, stored: Stored, fresh: Stored) -> bool:
        """Return whether a stored row must be written again; None equals None and differs from all else (R19)."""
        return stored != fresh

    def write(self, rows: Iterable[tuple[Event, Stored | None]]) -> int:
        """Insert, update and delete what differs; return the number of rows written (R19)."""
        written = 0
        for event, fresh in list(rows):
            stored = self.ods.get(event)
            if fresh is None:
                del self.ods[event]
            elif stored is None or self.differs(stored, fresh):
                self.ods[event] = fresh
            else:
                continue
            written += 1
        return written
