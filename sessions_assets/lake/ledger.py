"""The ledger: which batch landed on which day, whether ods_sessions has applied it, and whether it has expired.

One row a day, in the Delta table `deliveries`. It is read and written without Spark, in milliseconds, so that
a caller that only asks what was delivered starts no JVM. Must not know Dagster, batches' contents or the other tables.
Source of the rules: R20 (an empty batch has a row, a missing one has none), R21 (landed is not applied; a day whose
raw rows may be gone is closed).
"""

import json
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from arro3.core import Array, DataType, Table
from deltalake import DeltaTable, Field, QueryBuilder, Schema
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.schema import PrimitiveType

from sessions_assets.lake.tables import DELIVERIES, Column

_Answer = TypeVar("_Answer")
_SAME_DAY = "ledger._updated_at = entry._updated_at"
_NOT_OF_LANDINGS: dict[str, Any] = {"settled_through": None, "sealed_through": None}
_TYPES = {"DATE": "date", "STRING": "string", "BIGINT": "long", "TIMESTAMP": "timestamp"}


@dataclass(frozen=True)
class Entry:
    """The state of one day: the columns of `deliveries`, in their order."""

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
    attributes: str | None = None
    judged_from: str | None = None
    input_format: str | None = None
    ambiguous_times: int | None = None
    missing_times: int | None = None
    settled_through: date | None = None
    sealed_through: date | None = None

    @property
    def attribute_names(self) -> tuple[str, ...] | None:
        """Return the names of the attributes of the batch; None: landed by an edition that kept none."""
        return None if self.attributes is None else tuple(json.loads(self.attributes))


class ClosedDayError(Exception):
    """A day that can be neither landed nor applied any more (R21). Names the day and the limit."""


class Ledger:
    """The ledger of one lake.

    Each read opens the newest version. A write begins from what was last read or written here: delta-rs refuses it if
    another run has changed these days since, and it is repeated from the newest version.

    Args:
        address: of the table `deliveries`; the table is created with its first row.
        options: with which delta-rs reaches it.
    """

    def __init__(self, address: str, options: Mapping[str, str] | None = None) -> None:
        self._address = address
        self._options = dict(options or {})
        self._last_used: DeltaTable | None = None

    def entries(self, days: Collection[date] | None = None) -> dict[date, Entry]:
        """Return the entries of these days, or of all, in their order; a day that was never delivered is left out."""
        table = self._open()
        entries = _entries(table) if table else {}
        self._last_used = table
        return entries if days is None else {day: entry for day, entry in entries.items() if day in days}

    def open_entries(self, days: Collection[date] | None = None) -> dict[date, Entry]:
        """Return the entries of these days, or of all, that may be landed and applied.

        Raises:
            ClosedDayError: one of these has been applied and is not newer than a day whose raw rows have expired: an
                event that vanished from it could be held by that one, and that could no longer be known.
        """
        entries = self.entries()
        return open_among(entries, entries.keys() - closed_days(entries) if days is None else days)

    def begin(self, entries: Collection[Entry]) -> dict[date, Entry]:
        """Note that these days are being landed: the first write of a landing. Return their entries before it.

        Raises:
            ClosedDayError: as `open_entries`; nothing is noted then.
        """
        days = [entry.day for entry in entries]
        begun = [replace(entry, landed_at=None, applied_at=None, applied_by=None) for entry in entries]

        attempts: list[dict[date, Entry]] = []

        def write(table: DeltaTable) -> dict[date, Entry]:
            found = _entries(table)
            _check_open(found, days)
            known = {day: entry for day, entry in found.items() if day in days}
            if attempts:
                # On S3 the answer of a commit may be lost: the next attempt then finds its own rows. No other run
                # writes the same ones: the pool of raw_events lands one batch at a time.
                own = {day for day, entry in known.items() if replace(entry, **_NOT_OF_LANDINGS) in begun}
                known = {day: entry for day, entry in known.items() if day not in own}
                known |= {day: entry for day, entry in attempts[-1].items() if day in own}
            attempts.append(known)
            _merge(table, begun)
            return known

        return self._write(write)

    def take_back(self, days: Collection[date], known: Mapping[date, Entry]) -> None:
        """Restore the entries of these days as they were before a landing that changed nothing."""
        if first := [day for day in days if day not in known]:
            self._write(lambda table: table.delete(_is_one_of(first)))
        self.record(known.values())

    def record(self, entries: Collection[Entry]) -> None:
        """Replace the entries of these days: the last write of a landing."""
        if entries:
            self._write(lambda table: _merge(table, entries))

    def record_applied(
        self,
        entries: Collection[Entry],
        applied_by: str,
        settled_through: date | None = None,
        sealed_through: date | None = None,
    ) -> None:
        """Note which commit of ods_sessions holds these batches: the last write of an application.

        A day that has landed again meanwhile stays unapplied.
        """
        noted: dict[str, Any] = {"applied_at": datetime.now(UTC), "applied_by": applied_by}
        noted |= {"settled_through": settled_through, "sealed_through": sealed_through}
        applied = [replace(entry, **noted) for entry in entries]
        # The other columns may have changed since: the day may have expired.
        columns = tuple(noted)
        self._write(lambda table: _update(table, applied, columns, " AND ledger.landed_at = entry.landed_at"))

    def record_sealed(self, days: Collection[date], sealed_through: date | None) -> None:
        """Note through which date no batch can change events any more, in the entries of these days."""
        found = [replace(entry, sealed_through=sealed_through) for entry in self.entries(days).values()]
        self._write(lambda table: _update(table, found, ("sealed_through",)))

    def expire(self, retention: timedelta) -> list[date]:
        """Close the days that are applied and more than the retention behind the newest applied one (R21).

        None of them is newer than a day that is not applied: its events may be held by a newer day, and that is known
        only while the newer day is kept.

        Returns:
            All days whose raw rows are to go, those closed before too.
        """

        def write(table: DeltaTable) -> list[date]:
            found = _entries(table)
            closing = _to_expire(found, retention)
            if closing:
                _update(table, [replace(entry, expired_at=datetime.now(UTC)) for entry in closing], ("expired_at",))
            return [e.day for e in found.values() if e.expired_at] + [e.day for e in closing]

        return self._write(write) if self.entries() else []

    def compact(self) -> None:
        """Put the rows of all days into one file, and delete the files that no version of the last week needs."""
        if self.entries():
            self._write(_compact)

    def _open(self) -> DeltaTable | None:
        try:
            return DeltaTable(self._address, storage_options=self._options)
        except TableNotFoundError:
            return None

    def _create(self) -> DeltaTable:
        columns = [_field(column) for column in DELIVERIES.columns]
        # A creation at the same time is no conflict: commit 0 can only be one.
        return DeltaTable.create(
            self._address, Schema(columns), mode="ignore", name=DELIVERIES.name, storage_options=self._options
        )

    def _write(self, write: Callable[[DeltaTable], _Answer]) -> _Answer:
        """Write, and again when another run has written in between: all writes of the ledger may be repeated."""
        for pause in (0.1, 0.2, 0.4, 0.8, 1.6):
            try:
                return self._try_to(write)
            except CommitFailedError:
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - so that two runs do not meet again
        return self._try_to(write)

    def _try_to(self, write: Callable[[DeltaTable], _Answer]) -> _Answer:
        # Taken out while it is in use: another thread opens the table again, and so does a repetition.
        table, self._last_used = self._last_used, None
        table = table or self._open() or self._create()
        _add_missing_columns(table)
        answer = write(table)
        self._last_used = table
        return answer


def _field(column: Column) -> Field:
    kind = PrimitiveType(_TYPES[column.sql_type])
    return Field(column.name, kind, nullable=column.nullable, metadata={"comment": column.meaning})


def _add_missing_columns(table: DeltaTable) -> None:
    """Add the columns that a ledger of an earlier edition lacks: NULL in its rows."""
    there = {field.name for field in table.schema().fields}
    if missing := [_field(column) for column in DELIVERIES.columns if column.name not in there]:
        table.alter.add_columns(missing)


def _entries(table: DeltaTable) -> dict[date, Entry]:
    there = {field.name for field in table.schema().fields}
    columns = [c.name if c.name in there else f"NULL AS {c.name}" for c in DELIVERIES.columns]
    text = f"SELECT {', '.join(columns)} FROM ledger ORDER BY 1"  # noqa: S608 - our own words
    found = QueryBuilder().register("ledger", table).execute(text).read_all()
    rows = zip(*[found.column(column.name).to_pylist() for column in DELIVERIES.columns], strict=True)
    return {row[0]: Entry(*row) for row in rows}


def _newest_expired(entries: Mapping[date, Entry]) -> date:
    return max((day for day, entry in entries.items() if entry.expired_at), default=date.min)


def closed_days(entries: Mapping[date, Entry]) -> set[date]:
    """Return the days of a ledger that may not be landed or applied again (R21)."""
    limit = _newest_expired(entries)
    return {day for day, entry in entries.items() if day <= limit and entry.applied_at}


def open_among(entries: Mapping[date, Entry], days: Collection[date]) -> dict[date, Entry]:
    """Return the entries of these days, all of which may be landed and applied.

    Raises:
        ClosedDayError: one of them may not.
    """
    _check_open(entries, days)
    return {day: entry for day, entry in entries.items() if day in days}


def _check_open(entries: Mapping[date, Entry], days: Collection[date]) -> None:
    if closed := sorted(closed_days(entries).intersection(days)):
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


def _merge(table: DeltaTable, entries: Collection[Entry]) -> None:
    """Replace or add the entries of days; what applications note of the whole table stays."""
    merger = table.merge(_as_arrow(table, entries), _SAME_DAY, "entry", "ledger")
    merger.when_matched_update_all(except_cols=[*_NOT_OF_LANDINGS]).when_not_matched_insert_all().execute()


def _update(table: DeltaTable, entries: Collection[Entry], columns: Collection[str], condition: str = "") -> None:
    merger = table.merge(_as_arrow(table, entries), _SAME_DAY + condition, "entry", "ledger")
    merger.when_matched_update({name: f"entry.{name}" for name in columns}).execute()


def _compact(table: DeltaTable) -> None:
    table.optimize.compact()
    table.vacuum(dry_run=False)
    table.create_checkpoint()


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
        micros = [None if v is None else (v - epoch) // timedelta(microseconds=1) for v in values]
        return Array(micros, type=DataType.int64()).cast(kind)
    return Array(values, type=kind)
