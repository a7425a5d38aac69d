"""The incremental algorithm in plain Python, with the names that the Spark code uses.

It keeps the table up to date from what a batch changes (R14), as the Spark code does with data frames. In
plain Python thousands of histories of deliveries can be compared with the reference within seconds.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sessions_assets_tests.reference import Event

Key = tuple[str, str]


class Stored(NamedTuple):
    """What the table stores beside the event itself."""

    first_updated_at: date
    session_start: datetime | None


def key_of(event: Event) -> Key:
    """Give the key within which sessions are counted (R7)."""
    return event.user_id, event.product_code


class IncrementalModel:
    """The raw partitions, the stored table, and how a run changes it.

    Between two changes of `raw` and after every run, two things hold; from them R18 follows.
    For each stored event: the partition named by its `first_updated_at` holds it, or that day has landed
    again and is not applied yet. For each event of an applied day: it is stored, and its `first_updated_at`
    is not later than that day.
    """

    def __init__(
        self, timeout: timedelta, user_actions: frozenset[str] | None, retention: timedelta = timedelta.max
    ) -> None:
        self.timeout = timeout
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
        """Say whether a day is applied and not newer than one that has expired: it stays as it is (R21)."""
        return day in self.delivered - self.pending and day <= self.newest_expired

    def expire(self) -> None:
        """Drop raw partitions that are behind the retention, but none that is newer than a pending day (R21).

        An event that vanishes from the pending day may be held by a newer one, which must then still be there.
        """
        applied = self.delivered - self.pending
        for day in [day for day in self.raw if day in applied and max(applied) - day > self.retention]:
            if self.may_leave(day):
                del self.raw[day]
                self.newest_expired = max(day, self.newest_expired)

    def may_leave(self, day: date) -> bool:
        """Say whether no older day is pending."""
        return day < min(self.pending, default=date.max)

    def apply(self, days: Collection[date]) -> int:
        """Bring the table up to date with what these days hold now; give the number of rows written (R19).

        Raises:
            LookupError: if one of the days never landed (R20) or is closed (R21). Nothing is written then.
        """
        if missing := sorted(day for day in days if day not in self.raw or self.is_closed(day)):
            raise LookupError(f"no batch is at hand for {', '.join(map(str, missing))}")
        written = self.merge(days)
        self.pending -= set(days)
        self.expire()
        return written

    def merge(self, days: Collection[date]) -> int:
        """Write what these days change, key by key; give the number of rows written (R14, R19)."""
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
        """Give the events of the batch, and those that vanished from it but are held elsewhere (R17).

        Each event comes with its least arrival day (R1).
        """
        batch = [(event, day) for day in days for event in self.raw[day]]
        vanished = {event for event in stored_of_days if event not in self.raw[self.ods[event].first_updated_at]}
        least: dict[Event, date] = {}
        for event, arrival in [*batch, *self.holders(vanished, days)]:
            least[event] = min(arrival, least.get(event, arrival))
        return least

    def holders(self, vanished: set[Event], days: Collection[date]) -> list[tuple[Event, date]]:
        """Find vanished events in the raw partitions of all other days, applied or not (R17)."""
        others = [day for day in self.raw if day not in days]
        return [(event, day) for day in others for event in self.raw[day] if event in vanished]

    def rows_of_key(
        self, key: Key, changed: list[Event], incoming: dict[Event, date], days: Collection[date]
    ) -> Iterator[tuple[Event, Stored | None]]:
        """Re-sessionize one key from its earliest change on; None stands for an event no longer held (R14)."""
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
            yield event, Stored(first_updated_at[event], start)

    def context(self, key: Key, since: datetime, changed: list[Event]) -> list[Event]:  # noqa: ARG002 (a wrong variant bounds the right edge by it)
        """Read the stored rows of a key from `since` on, with an open right edge (R14)."""
        return [event for event in self.ods if key_of(event) == key and event.timestamp >= since]

    def seed(self, key: Key, since: datetime) -> list[Event]:
        """Read the stored actions of a key in [since - T, since); they carry their session on (R14, R15)."""
        return [
            event
            for event in self.ods
            if key_of(event) == key and self.is_action(event) and since - self.timeout <= event.timestamp < since
        ]

    def arrivals(self, event: Event, incoming: dict[Event, date], days: Collection[date]) -> list[date]:
        """List the days that hold an event; a stored day that is itself re-applied does not count (R1, R17)."""
        found = [incoming[event]] if event in incoming else []
        if event in self.ods and self.ods[event].first_updated_at not in days:
            found.append(self.ods[event].first_updated_at)
        return found

    def one_pass(self, seed: Collection[Event], held: Collection[Event]) -> Iterator[tuple[Event, datetime | None]]:
        """Give each held event its session start, in the order timestamp, action first, event_id (R2 to R5)."""
        last: datetime | None = None
        start: datetime | None = None
        for event in sorted({*seed, *held}, key=self.order):
            inside = last is not None and self.within(last, event.timestamp)
            if event in seed:
                start = self.ods[event].session_start
            elif self.is_action(event) and not inside:
                start, inside = event.timestamp, True
            if self.advances(event):
                last = event.timestamp
            if event not in seed:
                yield event, start if inside else None

    def is_action(self, event: Event) -> bool:
        """Say whether a person did it."""
        return self.user_actions is None or event.event_id in self.user_actions

    def order(self, event: Event) -> tuple[datetime, bool, str]:
        """Sort by time, at one instant the action first (R5)."""
        return event.timestamp, not self.is_action(event), event.event_id

    def within(self, last: datetime, at: datetime) -> bool:
        """Say whether a moment is still in reach of the last action (R3, R6)."""
        return at - last <= self.timeout

    def advances(self, event: Event) -> bool:
        """Say whether the timeout is counted anew from this event: from actions only (R4)."""
        return self.is_action(event)

    def differs(self, stored: Stored, fresh: Stored) -> bool:
        """Say whether a stored row must be written again; NULL equals NULL and differs from all else (R19)."""
        return stored != fresh

    def write(self, rows: Iterable[tuple[Event, Stored | None]]) -> int:
        """Insert, update and delete what differs; give the number of rows written (R19)."""
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
