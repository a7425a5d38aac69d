"""The numbers of a run: what landed, what was applied, and what became of the sessions.

Must not know how rows are read, computed or written, nor Dagster.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.events import KEY_COLUMNS
from sessions_assets.rule.sessions import DELETE, INSERT, UPDATE

SESSION_FATES = ("opened", "extended", "joined", "shortened")


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


@dataclass(frozen=True)
class Measured:
    """Rows that a table holds of an arrival day: those that are so many days late, in a session or not.

    Attributes:
        day: the arrival day, of stored rows the one that first brought them.
        days_late: days from the event date to the arrival.
        rows: how many there are.
        keys: about how many keys they have.
        first: the least `timestamp`.
        is_stored: rows of ods_sessions; else accepted rows of the batch.
        is_empty: stored rows in no session.
    """

    day: date
    days_late: int
    rows: int
    keys: int
    first: datetime
    is_stored: bool = False
    is_empty: bool = False


@dataclass
class AppliedRun:
    """The numbers of one application of one or more days: of each day, rows by change, sessions by fate.

    `pending` are the days that are applied, the others were before and are only counted; `raw_version` is that of
    raw_events that all queries read; `dates` are the first and the last event date with a change; `version` is that of
    ods_sessions.
    """

    days: dict[date, AppliedDay]
    pending: Sequence[date]
    raw_version: int
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys((INSERT, UPDATE, DELETE), 0))
    sessions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SESSION_FATES, 0))
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
        run.sessions = count_sessions(changed)


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


def count_sessions(changed: DataFrame) -> dict[str, int]:
    """Tell of each session with a changed row what it was before.

    The sessions it was are those its changed rows were stored with, and itself if it was stored already. None: it
    opened. Several: they joined. One that began earlier: it is shortened, what is left of that one or a part of it.
    """
    # Which sessions these were need not be known, only whether there are none, one or more: the least and the greatest.
    itself = F.when(F.col("stored_session") == F.col("session_start"), F.col("session_start"))
    is_new_action = F.col("is_user_action") & (F.col("change") == INSERT)
    sessions = (
        changed.where(F.col("session_start").isNotNull() & (F.col("change") != DELETE))
        .groupBy(*KEY_COLUMNS, "session_start")
        .agg(
            F.min("stored_session_start").alias("earliest"),
            F.min(F.least("stored_session_start", itself)).alias("least"),
            F.max(F.greatest("stored_session_start", itself)).alias("greatest"),
            F.max(is_new_action).alias("has_new_action"),
        )
    )
    was_one = F.col("least") == F.col("greatest")
    is_shortened = F.col("earliest") < F.col("session_start")
    fates = {
        "opened": F.col("least").isNull(),
        "extended": was_one & F.col("has_new_action") & ~F.coalesce(is_shortened, F.lit(False)),
        "joined": F.col("least") < F.col("greatest"),
        "shortened": was_one & is_shortened,
    }
    return sessions.agg(*[F.count_if(fates[fate]).alias(fate) for fate in SESSION_FATES]).collect()[0].asDict()
