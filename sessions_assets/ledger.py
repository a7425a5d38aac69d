"""The ledger: which batch landed on which day, and whether ods_sessions has applied it.

One row a day, in the Delta table `deliveries`. Reads and writes it without Spark, in milliseconds, so that whoever
only asks what was delivered starts no JVM. Must not know Dagster, batches' contents or the other tables.
Source of the rules: S20 (an empty batch has a row, a missing one has none), S21 (landed is not applied).
"""

import random
import time
from collections.abc import Callable, Collection
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from arro3.core import Array, DataType, Table
from deltalake import DeltaTable, Field, QueryBuilder, Schema
from deltalake.exceptions import CommitFailedError
from deltalake.schema import PrimitiveType

from sessions_assets.tables import DELIVERIES

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
    landed_at: datetime
    applied_at: datetime | None = None


class Ledger:
    """The ledger of one lake.

    Args:
        address: of the table `deliveries`; made with its first row.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def entries(self, days: Collection[date]) -> dict[date, Entry]:
        """Read what is said of these days, in their order; a day that was never delivered is left out."""
        if not days or not DeltaTable.is_deltatable(self._address):
            return {}
        query = f"SELECT * FROM ledger WHERE {_is_one_of(days)} ORDER BY 1"  # noqa: S608 - dates only
        found = QueryBuilder().register("ledger", DeltaTable(self._address)).execute(query).read_all()
        rows = zip(*[found.column(column.name).to_pylist() for column in DELIVERIES.columns], strict=True)
        return {row[0]: Entry(*row) for row in rows}

    def forget(self, days: Collection[date]) -> dict[date, Entry]:
        """Take these days out, and give what was said of them.

        The first write of a landing, so that a crash in it leaves no false row.
        """
        known = self.entries(days)
        if known:
            _repeated(lambda: DeltaTable(self._address).delete(_is_one_of(days)))
        return known

    def record(self, entries: Collection[Entry]) -> None:
        """Write the rows of these days anew: the last write of a landing."""
        self._merge(entries, "ledger._updated_at = entry._updated_at", insert=True)

    def record_applied(self, entries: Collection[Entry]) -> None:
        """Note that ods_sessions holds these batches: the last write of an application.

        A day that has landed anew meanwhile stays unapplied.
        """
        applied = [replace(entry, applied_at=datetime.now(UTC)) for entry in entries]
        same = "ledger._updated_at = entry._updated_at AND ledger.landed_at = entry.landed_at"
        self._merge(applied, same, insert=False)

    def _merge(self, entries: Collection[Entry], predicate: str, *, insert: bool) -> None:
        def merge() -> None:
            table = self._made()
            merger = table.merge(_as_arrow(table, entries), predicate, "entry", "ledger").when_matched_update_all()
            (merger.when_not_matched_insert_all() if insert else merger).execute()

        if entries:
            _repeated(merge)

    def _made(self) -> DeltaTable:
        columns = [
            Field(c.name, PrimitiveType(_TYPES[c.sql_type]), nullable=c.nullable, metadata={"comment": c.meaning})
            for c in DELIVERIES.columns
        ]
        return DeltaTable.create(self._address, Schema(columns), mode="ignore", name=DELIVERIES.name)


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
