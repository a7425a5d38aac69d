"""What is asked of a Delta table without a JVM: whether it is there, its version, properties, bounds, small counts.

Must not know Spark, Dagster or what the tables are for.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Any

from deltalake import DeltaTable, QueryBuilder, Schema


@dataclass
class Files:
    """The files of a partition: how many, their bytes, and how many of them have rows that are marked as deleted."""

    number: int = 0
    size: int = 0
    with_vectors: int = 0


class StoredTable:
    """A Delta table, which need not be there.

    Args:
        address: of the table.
        options: with which delta-rs reaches it.
    """

    def __init__(self, address: str, options: Mapping[str, str] | None = None) -> None:
        self.address = address
        self._options = dict(options or {})

    def open(self, version: int | None = None) -> DeltaTable:
        """Open the table as it is now, or as a commit left it."""
        return DeltaTable(self.address, version=version, storage_options=self._options)

    def is_made(self) -> bool:
        """Tell whether there is a table."""
        return DeltaTable.is_deltatable(self.address, self._options)

    def version(self) -> int:
        """Give the number of the newest commit."""
        return self.open().version()

    def properties(self) -> dict[str, str]:
        """Read the properties."""
        return dict(self.open().metadata().configuration)

    def create(self, schema: Schema) -> DeltaTable:
        """Create the table if it is not there."""
        name = PurePosixPath(self.address).name
        return DeltaTable.create(self.address, schema, mode="ignore", name=name, storage_options=self._options)

    def count_rows(self, partition: str, days: Collection[date], version: int | None = None) -> dict[date, int]:
        """Count the rows of days of a table that is partitioned by a day; 0 where there are none, or no table.

        Only for tables whose rows are deleted by whole days: it counts what the files hold.
        """
        rows = dict.fromkeys(days, 0)
        if self.is_made():
            files = self.open(version).get_add_actions(flatten=True)
            found = zip(
                files.column(f"partition.{partition}").to_pylist(), files.column("num_records").to_pylist(), strict=True
            )
            for day, number in found:
                if day in rows:
                    rows[day] += number
        return rows

    def files_by_day(self, partition: str) -> dict[date, Files]:
        """Return the files of each day of a table that is partitioned by a day."""
        table = self.open()
        added = table.get_add_actions(flatten=True)
        columns = (added.column(name).to_pylist() for name in (f"partition.{partition}", "path", "size_bytes"))
        # A file's address is written otherwise here and there, but no two files have the same name.
        marked = {
            PurePosixPath(str(path)).name
            for batch in table.deletion_vectors()
            for path in batch.column("filepath").to_pylist()
        }
        found: dict[date, Files] = {}
        for day, path, size in zip(*columns, strict=True):
            files = found.setdefault(day, Files())
            files.number += 1
            files.size += size
            files.with_vectors += PurePosixPath(path).name in marked
        return found

    def least_timestamp(self, day_column: str, days: Collection[date]) -> datetime | None:
        """Give a bound for `timestamp` in the rows whose DATE column lies within these days: none of them is less.

        From what the table knows of its files; None if there is no table, no such row, or a file of which nothing is
        known.
        """
        if not self.is_made() or not days:
            return None
        files = self.open().get_add_actions(flatten=True)
        names = set(files.column_names)
        is_partition = f"partition.{day_column}" in names
        low, high = (f"partition.{day_column}",) * 2 if is_partition else (f"min.{day_column}", f"max.{day_column}")
        if not {low, high, "min.timestamp"} <= names:
            return None
        first, last, least = (files.column(name).to_pylist() for name in (low, high, "min.timestamp"))
        found = [row for row in zip(first, last, least, strict=True) if _may_hold(row[0], row[1], days)]
        return min((row[2] for row in found), default=None) if None not in [row[2] for row in found] else None

    def commits(self, number: int, version: int | None = None) -> list[dict[str, Any]]:
        """Tell what is noted of the last commits, newest first, from this version back."""
        return self.open(version).history(number)

    def query(self, text: str, version: int | None = None) -> list[tuple[Any, ...]]:
        """Answer a question about the rows of the table, or as a commit left it, in DataFusion's SQL; it is `stored`.

        One process reads the columns that are named: some seconds for 100 million rows.
        """
        answer = QueryBuilder().register("stored", self.open(version)).execute(text).read_all()
        return list(zip(*[answer.column(name).to_pylist() for name in answer.column_names], strict=True))


def _may_hold(first: date | None, last: date | None, days: Collection[date]) -> bool:
    return first is None or last is None or (first <= max(days) and last >= min(days))
