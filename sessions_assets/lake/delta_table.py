"""A Delta table without a JVM: a snapshot, pinned to one version, and what it answers.

Must not know Spark, Dagster or what the tables are for.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError
from deltalake.schema import PrimitiveType


@dataclass(frozen=True)
class Files:
    """The files of a partition: how many, their bytes, and how many of them have deletion vectors."""

    number: int = 0
    size: int = 0
    with_vectors: int = 0


class Snapshot:
    """A Delta table as one commit left it. Its log was read once; all answers are of that version.

    Args:
        address: of the table.
        table: the table as delta-rs opened it; nobody may load another version into it.
        newest: opens its newest version; None: that is the one.
    """

    def __init__(self, address: str, table: DeltaTable, newest: Callable[[], DeltaTable] | None = None) -> None:
        self.address = address
        self._table = table
        self._newest = newest

    @property
    def version(self) -> int:
        """The number of the commit."""
        return self._table.version()

    @property
    def table_id(self) -> str:
        """The id of the table: another one has another, even at the same address."""
        return str(self._table.metadata().id)

    def count_stored(self) -> int:
        """Return how many rows the files have, those that deletion vectors mark included."""
        return sum(self._table.get_add_actions(flatten=True).column("num_records").to_pylist())

    def missing_files(self) -> list[str]:
        """Return the files of this version that are not there."""
        return list(self._table.repair(dry_run=True)["files_removed"])

    def columns(self) -> dict[str, str]:
        """Return the types of the columns by their names: that of a text is `string`."""
        return {
            field.name: field.type.type if isinstance(field.type, PrimitiveType) else str(field.type)
            for field in self._table.schema().fields
        }

    def properties(self) -> dict[str, str]:
        """Return the table properties."""
        return dict(self._table.metadata().configuration)

    def commits(self, number: int) -> list[dict[str, Any]]:
        """Return what the log notes of the last commits up to this version, newest first."""
        if self._newest is None:
            return self._table.history(number)
        # Of a table at an older version delta-rs returns the newest commits too, under the numbers of older ones.
        newest = self._newest()
        later = newest.version() - self.version
        return newest.history(number + later)[later:]

    def count_rows(self, partition: str, days: Collection[date]) -> dict[date, int]:
        """Count the rows of days by the file statistics of a table that is partitioned by a day; 0 where none are.

        Only for tables whose rows are deleted by whole days: deletion vectors are not looked at.
        """
        rows = dict.fromkeys(days, 0)
        files = self._table.get_add_actions(flatten=True)
        day_of_file, rows_of_file = (files.column(name) for name in (f"partition.{partition}", "num_records"))
        for day, number in zip(day_of_file.to_pylist(), rows_of_file.to_pylist(), strict=True):
            if day in rows:
                rows[day] += number
        return rows

    def files_by_day(self, partition: str) -> dict[date, Files]:
        """Return the files of each day of a table that is partitioned by a day."""
        added = self._table.get_add_actions(flatten=True)
        columns = (added.column(name).to_pylist() for name in (f"partition.{partition}", "path", "size_bytes"))
        # The two lists write the address of a file differently, but no two files have the same name.
        marked = {
            PurePosixPath(str(path)).name
            for batch in self._table.deletion_vectors()
            for path in batch.column("filepath").to_pylist()
        }
        found: dict[date, Files] = {}
        for day, path, size in zip(*columns, strict=True):
            files = found.get(day, Files())
            has_vector = PurePosixPath(path).name in marked
            found[day] = Files(files.number + 1, files.size + size, files.with_vectors + has_vector)
        return found

    def least_timestamp(self, day_column: str, days: Collection[date]) -> datetime | None:
        """Return a lower bound of `timestamp` in the rows whose DATE column lies within these days.

        Read from the file statistics; None if there is no such row, or a file without statistics.
        """
        if not days:
            return None
        files = self._table.get_add_actions(flatten=True)
        names = set(files.column_names)
        is_partition = f"partition.{day_column}" in names
        low, high = (f"partition.{day_column}",) * 2 if is_partition else (f"min.{day_column}", f"max.{day_column}")
        if not {low, high, "min.timestamp"} <= names:
            return None
        first, last, least = (files.column(name).to_pylist() for name in (low, high, "min.timestamp"))
        found = [row for row in zip(first, last, least, strict=True) if _may_hold(row[0], row[1], days)]
        return min((row[2] for row in found), default=None) if None not in [row[2] for row in found] else None

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Run SQL on this version; the table is registered as `stored`.

        One process reads the columns that are named: some seconds for 100 million rows.
        """
        answer = QueryBuilder().register("stored", self._table).execute(text).read_all()
        return list(zip(*[answer.column(name).to_pylist() for name in answer.column_names], strict=True))


def find_snapshot(address: str, options: Mapping[str, str], version: int | None = None) -> Snapshot | None:
    """Open a table as it is now, or as a commit left it; None if there is no table."""
    opened = partial(DeltaTable, address, storage_options=dict(options))
    try:
        table = opened(version=version)
    except TableNotFoundError:
        return None
    return Snapshot(address, table, None if version is None else opened)


def _may_hold(first: date | None, last: date | None, days: Collection[date]) -> bool:
    return first is None or last is None or (first <= max(days) and last >= min(days))
