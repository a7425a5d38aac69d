"""The numbers of a run: what landed, what was applied, and what became of the sessions.

Must not know how rows are read, computed or written, nor Dagster.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.lake import Measured
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE
from sessions_assets.rule.outcomes import SESSION_OUTCOMES, session_outcomes


@dataclass
class LandedDay:
    """The numbers of one landed batch: rows, by reason and by days between event date and arrival.

    The keys of `additional_columns` are names, each once, in the order of the files.
    """

    source: str
    additional_columns: dict[str, None] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    late_by_days: dict[int, int] = field(default_factory=dict)

    @property
    def rows_accepted(self) -> int:
        """Count the rows that are events, however late."""
        return sum(self.late_by_days.values())

    @property
    def rows_quarantined(self) -> int:
        """Count the refused rows, whatever the reason."""
        return sum(self.quarantined.values())

    @property
    def rows_delivered(self) -> int:
        """Count all rows of the batch."""
        return self.rows_accepted + self.rows_quarantined


@dataclass
class AppliedDay:
    """The numbers of one applied day: accepted rows, events it was the first to bring, those in none."""

    rows_accepted: int
    rows_inserted: int = 0
    events_first_seen: int = 0
    empty_events: int = 0
    late_by_days: dict[int, int] = field(default_factory=dict)

    @property
    def duplicates(self) -> int:
        """Count the accepted rows that repeat another one, of this batch or of an earlier arrival day."""
        return self.rows_accepted - self.events_first_seen


@dataclass
class AppliedRun:
    """The numbers of one application of one or more days: of each day, rows by change, sessions by outcome.

    `pending` are the days that are applied, the others were before and are only counted; `raw_version` is that of
    raw_events that all queries read; `dates` are the first and the last event date with a change; `version` is that of
    ods_sessions.
    """

    days: dict[date, AppliedDay]
    pending: Sequence[date]
    raw_version: int
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys((INSERT, UPDATE, DELETE), 0))
    sessions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SESSION_OUTCOMES, 0))
    dates: tuple[date, date] = (date.max, date.min)
    version: int = 0

    @property
    def rows_delivered(self) -> int:
        """Count the accepted rows of all days."""
        return sum(rows for day in self.days.values() for rows in day.late_by_days.values())


def count_measured(run: AppliedRun, measured: Sequence[Measured]) -> None:
    """Start the numbers of each day from what its batch holds and what is stored of it."""
    for found in measured:
        day = run.days[found.day]
        if found.is_stored:
            day.events_first_seen += found.rows
            day.empty_events += found.rows if found.is_empty else 0
        else:
            day.late_by_days[found.days_late] = found.rows


def count_changes(run: AppliedRun, changed: DataFrame) -> None:
    """Add to a run what it changes.

    Args:
        run: whose numbers start with what is stored.
        changed: the answer of `changes`.
    """
    was_empty = F.col("stored_session_start").isNull().alias("was_empty")
    is_empty = F.col("session_start").isNull().alias("is_empty")
    counts = (
        changed.groupBy("change", "first_updated_at", "stored_first_updated_at", was_empty, is_empty)
        .agg(F.count("*").alias("rows"), F.min("pdate").alias("first"), F.max("pdate").alias("last"))
        .collect()
    )
    for row in counts:
        _count_change(run, row)
    if counts:
        run.dates = min(row["first"] for row in counts), max(row["last"] for row in counts)
        run.sessions = session_outcomes(changed).collect()[0].asDict()


def _count_change(run: AppliedRun, row: Row) -> None:
    nowhere = AppliedDay(0)
    rows, change = row["rows"], row["change"]
    run.rows[change] += rows
    before = run.days.get(row["stored_first_updated_at"], nowhere)
    after = run.days.get(row["first_updated_at"], nowhere) if change != DELETE else nowhere
    before.events_first_seen -= rows
    before.empty_events -= rows if row["was_empty"] else 0
    after.events_first_seen += rows
    after.empty_events += rows if row["is_empty"] else 0
    after.rows_inserted += rows if change == INSERT else 0
