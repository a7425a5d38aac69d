"""The lake: the root of the Delta tables, their addresses and snapshots, the ledger, and what a table holds of a day.

Needs no Spark session. Must not know Dagster, the environment or how a session is computed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from sessions_assets.lake.delta_table import Snapshot, find_snapshot
from sessions_assets.lake.ledger import Ledger
from sessions_assets.lake.tables import DELIVERIES, ODS_SESSIONS, SESSION_CHANGES, SESSIONS, Table
from sessions_assets.rule.events import ARRIVAL_DAY, KEY_COLUMNS
from sessions_assets.storage import LOCAL, Storage

ROWS, MERGE = "rows", "merge"
WAYS_TO_COMMIT = (ROWS, MERGE)
"""How changed rows of ods_sessions are committed: by their row addresses, or by MERGE."""


class LakeError(Exception):
    """The lake is not in the state that a request needs. Says what is wrong and what to do."""


class Lake:
    """The tables below one root.

    Args:
        root: a folder or bucket prefix; made with the first table.
        storage: how an S3 bucket is reached.
        commit: how changed rows of ods_sessions are committed, one of `WAYS_TO_COMMIT`.

    Raises:
        LakeError: there is no such way to commit.

    Attributes:
        ledger: which days have landed, were applied or have expired.
    """

    def __init__(self, root: str, storage: Storage = LOCAL, commit: str = ROWS) -> None:
        if commit not in WAYS_TO_COMMIT:
            raise LakeError(f"changed rows are committed by {' or '.join(WAYS_TO_COMMIT)}, not by {commit!r}")
        self.commit = commit
        self._root = root.rstrip("/")
        self._options = storage.for_delta(root)
        self.ledger = Ledger(self.path(DELIVERIES), self._options)

    def path(self, table: Table) -> str:
        """Return the address of a table."""
        return f"{self._root}/{table.name}"

    def find(self, table: Table, version: int | None = None) -> Snapshot | None:
        """Open a table as it is now, or as a commit left it; None if there is no table."""
        return find_snapshot(self.path(table), self._options, version)

    def snapshot(self, table: Table, version: int | None = None) -> Snapshot:
        """Open a table as it is now, or as a commit left it.

        Raises:
            LakeError: there is no table.
        """
        snapshot = self.find(table, version)
        if snapshot is None:
            needed = "sessions" if table in (SESSIONS, SESSION_CHANGES) else "raw_events and ods_sessions"
            raise LakeError(f"{self.path(table)} does not exist: materialize {needed} first")
        return snapshot


def _days_late(arrival: str) -> str:
    return f"{arrival} - CAST(timestamp AS DATE)"


DAYS_LATE = _days_late(ARRIVAL_DAY)
"""SQL for the days from the event date to the arrival, of rows of raw_events."""


@dataclass(frozen=True)
class Measured:
    """Rows that a table holds of an arrival day: those that are so many days late, in a session or not.

    Attributes:
        day: the arrival day, of stored rows the one that first brought them.
        days_late: days from the event date to the arrival.
        rows: how many there are.
        keys: about how many keys they have.
        first: the earliest `timestamp`.
        is_empty: stored rows in no session.
    """

    day: date
    days_late: int
    rows: int
    keys: int
    first: datetime
    is_empty: bool = False


def measure(table: Table, snapshot: Snapshot, days: Collection[date]) -> list[Measured]:
    """Measure what raw_events or ods_sessions holds of arrival days, without Spark."""
    is_stored = table == ODS_SESSIONS
    day, is_empty = ("first_updated_at", "session_start IS NULL") if is_stored else (ARRIVAL_DAY, "false")
    text = f"""
        SELECT {day}, {_days_late(day)} AS days_late, count(*) AS rows,
            approx_distinct(concat({", ' ', ".join(KEY_COLUMNS)})) AS keys, min(timestamp) AS first,
            {is_empty} AS is_empty
        FROM stored WHERE {day} IN ({literals(days)}) GROUP BY {day}, days_late, is_empty
    """  # noqa: S608 - our own words and dates
    return [Measured(*row) for row in snapshot.query(text)]


def count_rows(raw_table: Snapshot | None, days: Collection[date]) -> dict[date, int]:
    """Count the rows of arrival days by the log of raw_events or raw_quarantine; 0 where none are, or no table is."""
    return raw_table.count_rows(ARRIVAL_DAY, days) if raw_table else dict.fromkeys(days, 0)


def count_days(raw_table: Snapshot | None, days: Collection[date], kind: str) -> list[tuple[date, str | int, int]]:
    """Count the rows of arrival days by a kind, an SQL expression, without Spark; no table has none.

    Returns:
        Day, kind and number of rows of each combination that occurs.
    """
    text = f"""
        SELECT {ARRIVAL_DAY}, {kind} AS kind, count(*) AS rows
        FROM stored WHERE {ARRIVAL_DAY} IN ({literals(days)}) GROUP BY 1, 2
    """  # noqa: S608 - our own words and dates
    return [(day, kind, rows) for day, kind, rows in raw_table.query(text)] if raw_table and days else []


def attribute_names(snapshot: Snapshot, days: Collection[date]) -> dict[date, tuple[str, ...]]:
    """Return the names of the attributes in raw_events of arrival days, sorted, without Spark."""
    names: dict[date, tuple[str, ...]] = dict.fromkeys(days, ())
    text = f"""
        SELECT {ARRIVAL_DAY}, array_sort(array_agg(DISTINCT name)) FROM (
            SELECT {ARRIVAL_DAY}, unnest(map_keys(attributes)) AS name
            FROM stored WHERE {ARRIVAL_DAY} IN ({literals(days)}) AND attributes IS NOT NULL
        ) GROUP BY 1
    """  # noqa: S608 - our own words and dates
    return names | {day: tuple(found) for day, found in snapshot.query(text)} if days else names


def literals(days: Collection[date]) -> str:
    """Return days as a list of SQL literals, for Spark and for delta-rs."""
    return ", ".join(f"DATE'{day}'" for day in days)
