"""The known ways of breaking the incremental algorithm, each as a variant of the plain model."""

from collections.abc import Collection
from datetime import date, datetime, timedelta

from sessions_assets_tests.incremental_model import IncrementalModel, Key, Stored
from sessions_assets_tests.reference import Event, Values, ordered


class GapOverAllEvents(IncrementalModel):
    """Measures gaps from the previous event of any kind (against R4)."""

    def advances(self, event: Event) -> bool:  # noqa: ARG002 (an override)
        """Return true for every event."""
        return True


class NoSeed(IncrementalModel):
    """Ignores the session before the earliest change (against R14)."""

    def seed(self, key: Key, since: datetime) -> list[Event]:  # noqa: ARG002 (an override)
        """Return no events."""
        return []


class HalfOpenTimeout(IncrementalModel):
    """Starts a new session at a gap of exactly T (against R3)."""

    def within(self, last: datetime, event: Event) -> bool:
        """Return whether the gap is less than T."""
        return event.timestamp - last < self.timeout_of(event)


class WholeSeconds(IncrementalModel):
    """Truncates to seconds (against R6)."""

    def within(self, last: datetime, event: Event) -> bool:
        """Compare whole seconds."""
        return event.timestamp.replace(microsecond=0) - last.replace(microsecond=0) <= self.timeout_of(event)


class OneTimeoutForAll(IncrementalModel):
    """Gives each product the default timeout (against R27)."""

    def timeout_of(self, event: Event) -> timedelta:  # noqa: ARG002 (an override)
        """Return the default."""
        return self.timeout


class SeedOfTheDefaultTimeout(IncrementalModel):
    """Looks for the session before the earliest change within the default timeout (against R27)."""

    def seed(self, key: Key, since: datetime) -> list[Event]:
        """Return the actions of one default timeout."""
        return [event for event in super().seed(key, since) if since - self.timeout <= event.timestamp]


class NativeFirst(IncrementalModel):
    """Puts the native event before the action of the same instant (against R5)."""

    def order(self, event: Event) -> tuple[datetime, bool, str]:
        """Return a sort key with native events first."""
        return event.timestamp, self.is_action(event), event.event_id


class ClosedRightEdge(IncrementalModel):
    """Reads stored rows only up to the last date of the changes (against R14)."""

    def context(self, key: Key, since: datetime, changed: list[Event]) -> list[Event]:
        """Return no events after the last date of the changes."""
        last_date = max(event.timestamp for event in changed).date()
        return [event for event in super().context(key, since, changed) if event.timestamp.date() <= last_date]


class SeedOfTheDayBefore(IncrementalModel):
    """Assumes that T is shorter than a day (against R14)."""

    def seed(self, key: Key, since: datetime) -> list[Event]:
        """Return only events of the date of the change and the date before it."""
        earliest = since.date() - timedelta(days=1)
        return [event for event in super().seed(key, since) if event.timestamp.date() >= earliest]


class NoHolders(IncrementalModel):
    """Removes an event that its day has lost though another day holds it (against R17)."""

    def holders(self, vanished: set[Event], days: Collection[date]) -> list[tuple[Event, date]]:  # noqa: ARG002 (an override)
        """Return no other holders."""
        return []


class NothingVanishes(IncrementalModel):
    """Keeps events that a re-delivery left out (against R17)."""

    def arrivals(self, event: Event, incoming: dict[Event, date], days: Collection[date]) -> list[date]:
        """Return the stored day if no other day holds the event."""
        return super().arrivals(event, incoming, days) or [self.ods[event].first_updated_at]


class LatestArrivalWins(IncrementalModel):
    """Takes the day of the batch as the first day (against R1)."""

    def arrivals(self, event: Event, incoming: dict[Event, date], days: Collection[date]) -> list[date]:
        """Return the delivered day alone if there is one."""
        return super().arrivals(event, incoming, days)[:1]


class SinceOfTheBatchAlone(IncrementalModel):
    """Reads from the earliest delivered event on, and misses an earlier one that vanished (against R14)."""

    def context(self, key: Key, since: datetime, changed: list[Event]) -> list[Event]:
        """Return the events from the first one that some raw partition holds."""
        held = {event for events in self.raw.values() for event in events}
        since = min((event.timestamp for event in changed if event in held), default=since)
        return super().context(key, since, changed)


class NullBlindGuard(IncrementalModel):
    """Compares with SQL's `<>`, which is never true for NULL (against R19 and R16)."""

    def differs(self, stored: Stored, fresh: Stored) -> bool:
        """Return false for a change from or to no session."""
        both = stored.session_start is not None and fresh.session_start is not None
        moved = both and stored.session_start != fresh.session_start
        return moved or stored.first_updated_at != fresh.first_updated_at


class ExpiresOutOfOrder(IncrementalModel):
    """Expires a day though an older one is still pending (against R21)."""

    def may_leave(self, day: date) -> bool:  # noqa: ARG002 (an override)
        """Return true whatever is pending."""
        return True


class ForgetsThatDaysExpired(IncrementalModel):
    """Accepts an old day again that was applied after newer ones had expired (against R21)."""

    def is_closed(self, day: date) -> bool:
        """Return whether the raw rows of the day itself have expired."""
        return super().is_closed(day) and day not in self.raw


class LastValues(IncrementalModel):
    """Takes the greatest values of several rows (against R24)."""

    def pick(self, rows: list[Values]) -> Values:
        """Return the greatest."""
        return max(rows, key=ordered, default=())


class AnyValues(IncrementalModel):
    """Takes the values of the first row as it was delivered (against R24)."""

    def pick(self, rows: list[Values]) -> Values:
        """Return the first."""
        return rows[0] if rows else ()


class NullFirst(IncrementalModel):
    """Sorts a missing value before all others (against R24)."""

    def pick(self, rows: list[Values]) -> Values:
        """Return the least by another order."""
        return min(rows, key=lambda values: [value or "" for value in values], default=())


class ValuesStay(IncrementalModel):
    """Keeps the values of a stored event, whichever day holds it first by now (against R24)."""

    def values(self, event: Event, day: date, days: Collection[date]) -> Values:
        """Return the stored values."""
        return self.ods[event].values if event in self.ods else super().values(event, day, days)


class ValuesAreNoChange(IncrementalModel):
    """Writes no row of which only the values differ (against R19 and R24)."""

    def differs(self, stored: Stored, fresh: Stored) -> bool:
        """Compare what comes before the values."""
        return stored[:2] != fresh[:2]


class RewritesEverything(IncrementalModel):
    """Writes every row that it read, changed or not (against R19)."""

    def differs(self, stored: Stored, fresh: Stored) -> bool:  # noqa: ARG002 (an override)
        """Return true for every row."""
        return True


BROKEN_MODELS = (
    GapOverAllEvents,
    NoSeed,
    HalfOpenTimeout,
    WholeSeconds,
    OneTimeoutForAll,
    SeedOfTheDefaultTimeout,
    NativeFirst,
    ClosedRightEdge,
    SeedOfTheDayBefore,
    NoHolders,
    NothingVanishes,
    LatestArrivalWins,
    SinceOfTheBatchAlone,
    NullBlindGuard,
    LastValues,
    AnyValues,
    NullFirst,
    ValuesStay,
    ValuesAreNoChange,
    RewritesEverything,
)

BROKEN_EXPIRIES = (ExpiresOutOfOrder, ForgetsThatDaysExpired)
