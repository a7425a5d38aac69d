"""The ledger: which batch landed on which day, whether ods_sessions has applied it, and whether it has expired.

One row a day, in the Delta table `deliveries`. Reads and writes it without Spark, in milliseconds, so that whoever
only asks what was delivered starts no JVM. Must not know Dagster, batches' contents or the other tables.
Source of the rules: R20 (an empty batch has a row, a missing one has none), R21 (landed is not applied; a day whose
raw rows may be gone is closed).
"""

import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from arro3.core import Array, DataType, Table
from deltalake import DeltaTable, Field, QueryBuilder, Schema
from deltalake.exceptions import CommitFailedError
from deltalake.schema import PrimitiveType

from sessions_assets.lake.delta_table import StoredTable
from sessions_assets.lake.tables import DELIVERIES

_TYPES = {"DATE": "date", "STRING": "string", "BIGINT": "long", "TIMESTAMP": "timestamp"}


@dataclass(frozen=True)
class Entry:
    """What the ledger says of one day; the columns of `deliveries`, in their order."""

    day: date
    source: str
    fingerprint: str
    rows_delivered: int
    rows_accepted: int
    rows_quarantined: int
    landed_at: datetime | None
    applied_at: datetime | None = None
    expired_at: datetime | None = None
    lateness_days: int = 0
    code: str = ""
    applied_by: str | None = None


class ClosedDayError(Exception):
    """A day that can be neither landed nor applied any more (R21). Names the day and the limit."""


class Ledger:
    """The ledger of one lake.

    Args:
        stored: the table `deliveries`; made with its first row.
    """

    def __init__(self, stored: StoredTable) -> None:
        self._stored = stored

    def entries(self, days: Collection[date] | None = None) -> dict[date, Entry]:
        """Read what is said of these days, or of all, in their order; a day that was never delivered is left out."""
        if not self._stored.is_made():
            return {}
        found = _entries(self._stored.open())
        return found if days is None else _of_days(found, days)

    def open_entries(self, days: Collection[date]) -> dict[date, Entry]:
        """Read what is said of these days, once it is sure that they may be landed and applied.

        Raises:
            ClosedDayError: one has been applied and is not newer than a day whose raw rows are given up: an event that
                vanished from it could be held by that one, and nobody could tell.
        """
        found = self.entries()
        _check_open(found, days)
        return _of_days(found, days)

    def closed(self) -> set[date]:
        """Give the days that may not be landed or applied again (R21)."""
        return _closed(self.entries())

    def begin(self, entries: Collection[Entry]) -> dict[date, Entry]:
        """Note that these days are being landed, and give what was said of them: the first write of a landing.

        Raises:
            ClosedDayError: as `open_entries`; nothing is noted then.
        """
        begun = [replace(entry, landed_at=None, applied_at=None, applied_by=None) for entry in entries]
        attempts: list[dict[date, Entry]] = []

        def attempt() -> None:
            table = self._made()
            found = _entries(table)
            _check_open(found, [entry.day for entry in begun])
            # On S3 the answer of a commit may be lost: the next attempt then finds its own rows.
            ours = {entry.day for entry in begun if attempts and found.get(entry.day) == entry}
            earlier = attempts[-1] if attempts else {}
            attempts.append({day: said for day, said in found.items() if day not in ours} | _of_days(earlier, ours))
            _merge(table, begun, insert=True)

        _repeated(attempt)
        return _of_days(attempts[-1], {entry.day for entry in begun})

    def take_back(self, days: Collection[date], known: Mapping[date, Entry]) -> None:
        """Say of these days again what was known before a landing that changed nothing."""
        if first := [day for day in days if day not in known]:
            _repeated(lambda: self._stored.open().delete(_is_one_of(first)))
        self.record(known.values())

    def record(self, entries: Collection[Entry]) -> None:
        """Write the rows of these days anew: the last write of a landing."""
        if entries:
            _repeated(lambda: _merge(self._made(), entries, insert=True))

    def record_applied(self, entries: Collection[Entry], mark: str) -> None:
        """Note that ods_sessions holds these batches, by what this mark names: the last write of an application.

        A day that has landed anew meanwhile stays unapplied.
        """
        applied = [replace(entry, applied_at=datetime.now(UTC), applied_by=mark) for entry in entries]
        same = "ledger.landed_at = entry.landed_at"
        _repeated(lambda: _merge(self._made(), applied, same, insert=False))

    def expire(self, retention: timedelta) -> list[date]:
        """Close the days that are applied and more than the retention behind the newest applied one (R21).

        None of them is newer than a day that is not applied: its events may be held by a newer day, and that is known
        only while the newer day is kept.

        Returns:
            All days whose raw rows are to go, those closed before too.
        """
        expired: list[date] = []

        def attempt() -> None:
            table = self._stored.open()
            found = _entries(table)
            closing = _to_expire(found, retention)
            if closing:
                _merge(table, [replace(entry, expired_at=datetime.now(UTC)) for entry in closing], insert=False)
            expired[:] = [e.day for e in found.values() if e.expired_at] + [e.day for e in closing]

        if self._stored.is_made():
            _repeated(attempt)
        return expired

    def compact(self) -> None:
        """Put the rows of all days into one file, and delete the files that no version of the last week needs."""
        if self._stored.is_made():
            _repeated(self._compact)

    def _compact(self) -> None:
        table = self._stored.open()
        table.optimize.compact()
        table.vacuum(dry_run=False)
        table.create_checkpoint()

    def _made(self) -> DeltaTable:
        columns = [
            Field(c.name, PrimitiveType(_TYPES[c.sql_type]), nullable=c.nullable, metadata={"comment": c.meaning})
            for c in DELIVERIES.columns
        ]
        return self._stored.create(Schema(columns))


def _entries(table: DeltaTable) -> dict[date, Entry]:
    found = QueryBuilder().register("ledger", table).execute("SELECT * FROM ledger ORDER BY 1").read_all()
    rows = zip(*[found.column(column.name).to_pylist() for column in DELIVERIES.columns], strict=True)
    return {row[0]: Entry(*row) for row in rows}


def _of_days(entries: Mapping[date, Entry], days: Collection[date]) -> dict[date, Entry]:
    return {day: entry for day, entry in entries.items() if day in days}


def _newest_expired(entries: Mapping[date, Entry]) -> date:
    return max((day for day, entry in entries.items() if entry.expired_at), default=date.min)


def _closed(entries: Mapping[date, Entry]) -> set[date]:
    limit = _newest_expired(entries)
    return {day for day, entry in entries.items() if day <= limit and entry.applied_at}


def _check_open(entries: Mapping[date, Entry], days: Collection[date]) -> None:
    if closed := sorted(_closed(entries).intersection(days)):
        raise ClosedDayError(
            f"{', '.join(map(str, closed))} cannot be landed or applied again: ods_sessions has applied it, and the "
            f"raw events of days up to {_newest_expired(entries)} have expired. ods_sessions keeps what it holds"
        )


def _to_expire(entries: Mapping[date, Entry], retention: timedelta) -> list[Entry]:
    newest = max((day for day, entry in entries.items() if entry.applied_at), default=date.min)
    first_pending = min((day for day, entry in entries.items() if not entry.applied_at), default=date.max)
    return [
        entry
        for day, entry in entries.items()
        if not entry.expired_at and newest - day > retention and day < first_pending
    ]


def _merge(table: DeltaTable, entries: Collection[Entry], condition: str = "true", *, insert: bool) -> None:
    same_day = "ledger._updated_at = entry._updated_at"
    rows = _as_arrow(table, entries)
    merger = table.merge(rows, f"{same_day} AND {condition}", "entry", "ledger").when_matched_update_all()
    (merger.when_not_matched_insert_all() if insert else merger).execute()


def _repeated(write: Callable[[], object]) -> None:
    """Write once more when another run has written in between: all writes of the ledger may be repeated."""
    for pause in (0.1, 0.2, 0.4, 0.8, 1.6):
        try:
            write()
        except CommitFailedError:
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - so that two runs do not meet again
        else:
            return
    write()


def _is_one_of(days: Collection[date]) -> str:
    listed = ", ".join(f"date '{day}'" for day in days)
    return f"_updated_at IN ({listed})"


def _as_arrow(table: DeltaTable, entries: Collection[Entry]) -> Table:
    schema = table.schema().to_arrow()
    columns = [list(values) for values in zip(*map(astuple, entries), strict=True)]
    return Table.from_arrays(
        [_as_column(values, schema.field(position).type) for position, values in enumerate(columns)], schema=schema
    )


def _as_column(values: list[Any], kind: DataType) -> Array:
    # Arrow's dates and times are counts of days and microseconds since 1970.
    if DataType.is_date(kind):
        days = [None if v is None else (v - date(1970, 1, 1)) // timedelta(days=1) for v in values]
        return Array(days, type=DataType.int32()).cast(kind)
    if DataType.is_timestamp(kind):
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        moments = [None if v is None else (v - epoch) // timedelta(microseconds=1) for v in values]
        return Array(moments, type=DataType.int64()).cast(kind)
    return Array(values, type=kind)
