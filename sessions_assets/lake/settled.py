"""Settled and sealed: through which event date the sessions are final, told by the ledger's entries.

Arithmetic over entries that were read before. Must not know tables, Spark or Dagster.
Source of the rules: R11 (which dates a batch may hold), R21 (closed days), R30.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sessions_assets.lake.ledger import Entry, closed_days
from sessions_assets.rule.events import LATENESS_DAYS


@dataclass(frozen=True)
class Calendar:
    """Which batches are expected.

    Attributes:
        first_day: the first arrival day; None: that of the ledger.
        lateness_days: N.
    """

    first_day: date | None = None
    lateness_days: int = LATENESS_DAYS


ANY_DAY = Calendar()
"""Nothing is expected before the first day of the ledger."""


@dataclass(frozen=True)
class Settled:
    """How far event dates are final; None: no date is.

    Attributes:
        settled_through: the last event date of which every batch that may hold events is applied.
        sealed_through: the last event date that no batch may change any more.
    """

    settled_through: date | None = None
    sealed_through: date | None = None


NOT_SETTLED = Settled()


def settled(entries: Mapping[date, Entry], calendar: Calendar) -> Settled:
    """Return how far event dates are final (R30).

    The batch of an arrival day may hold dates back to N days before it. So a date is settled when all days from the
    first one to N days after the date are applied, none of them missing, and sealed when all of them are closed.
    """
    if not entries:
        return NOT_SETTLED
    first = calendar.first_day or min(entries)
    applied = {day for day, entry in entries.items() if entry.applied_at}
    return Settled(
        _last_before_a_gap(applied, first, calendar.lateness_days),
        _last_before_a_gap(closed_days(entries), first, calendar.lateness_days),
    )


def _last_before_a_gap(days: Collection[date], first: date, lateness_days: int) -> date | None:
    day = first
    while day in days:
        day += timedelta(days=1)
    return day - timedelta(days=1 + lateness_days) if day > first else None


def told(entries: Mapping[date, Entry]) -> date | None:
    """Return the latest date that was ever told to be settled: what changes up to it surprises a reader."""
    return max((entry.settled_through for entry in entries.values() if entry.settled_through), default=None)


def end_of(day: date) -> datetime:
    """Return the instant at which an event date ends, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
