"""The numbers of a run, as frozen values: what landed, what was applied, and what became of the sessions.

Must not know how rows are read, computed or written, nor Dagster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from sessions_assets.lake.settled import NOT_SETTLED, Settled


@dataclass(frozen=True)
class LandedDay:
    """The numbers of one landed batch.

    Attributes:
        source: the file or folder, below the landing.
        attributes: names of the other columns, sorted.
        quarantined: refused rows by reason.
        late_by_days: accepted rows by days from the event date to the arrival; -1: dated one day ahead.
        ambiguous_times: accepted rows whose local time the zone had twice (R26); None: the zone is UTC.
        missing_times: accepted rows whose local time the zone did not have; None: the zone is UTC.
    """

    source: str
    attributes: tuple[str, ...]
    quarantined: Mapping[str, int]
    late_by_days: Mapping[int, int]
    ambiguous_times: int | None = None
    missing_times: int | None = None

    @property
    def rows_accepted(self) -> int:
        """The rows that are events, however late."""
        return sum(self.late_by_days.values())

    @property
    def rows_quarantined(self) -> int:
        """The refused rows, whatever the reason."""
        return sum(self.quarantined.values())

    @property
    def rows_delivered(self) -> int:
        """All rows of the batch."""
        return self.rows_accepted + self.rows_quarantined


@dataclass(frozen=True)
class AppliedDay:
    """The numbers of one applied day.

    Attributes:
        late_by_days: accepted rows of the batch by days from the event date to the arrival.
        rows_inserted: events that this run inserted for the day.
        events_first_seen: stored events of which the day is the first arrival day.
        empty_events: those of them in no session.
    """

    late_by_days: Mapping[int, int]
    rows_inserted: int
    events_first_seen: int
    empty_events: int

    @property
    def rows_accepted(self) -> int:
        """The accepted rows of the batch."""
        return sum(self.late_by_days.values())

    @property
    def duplicates(self) -> int:
        """The accepted rows that repeat another one, of this batch or of an earlier arrival day."""
        return self.rows_accepted - self.events_first_seen


@dataclass(frozen=True)
class SettledChanges:
    """Sessions that a run changed although they were settled (R30).

    Attributes:
        sessions: how many.
        examples: ids of the first of them.
        dates: the first and the last date on which one ends.
    """

    sessions: int = 0
    examples: tuple[str, ...] = ()
    dates: tuple[date, ...] = ()


@dataclass(frozen=True)
class ChangeCounts:
    """What applying changes, in numbers.

    Attributes:
        days: of each day of the run.
        rows: changed rows: inserted, changed, removed.
        sessions: sessions with a changed row by outcome: opened, extended, joined, shortened.
        dates: the first and the last event date with a changed row; None if no row changes.
        settled: settled sessions with a changed row.
    """

    days: Mapping[date, AppliedDay]
    rows: Mapping[str, int]
    sessions: Mapping[str, int]
    dates: tuple[date, date] | None
    settled: SettledChanges = SettledChanges()


@dataclass(frozen=True)
class ApplyResult(ChangeCounts):
    """What applying has changed.

    Attributes:
        version: of ods_sessions, the one before if no row changed.
        absent: carried attributes that no batch of the run has.
        final: how far event dates are settled and sealed now.
    """

    version: int = 0
    absent: tuple[str, ...] = ()
    final: Settled = NOT_SETTLED
