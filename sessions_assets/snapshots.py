"""What is asked of a Delta table without a JVM: whether it is there, its version, properties, bounds, small counts.

Must not know Spark, Dagster or what the tables are for.
"""

from collections.abc import Collection
from datetime import date, datetime
from typing import Any

from deltalake import DeltaTable, QueryBuilder


def is_made(address: str) -> bool:
    """Tell whether there is a table."""
    return DeltaTable.is_deltatable(address)


def version(address: str) -> int:
    """Give the number of the newest commit."""
    return DeltaTable(address).version()


def properties(address: str) -> dict[str, str]:
    """Read the properties."""
    return dict(DeltaTable(address).metadata().configuration)


def count_rows(address: str, partition: str, days: Collection[date]) -> dict[date, int]:
    """Count the rows of days of a table that is partitioned by a day; 0 where there are none, or no table.

    Only for tables whose rows are deleted by whole days: it counts what the files hold.
    """
    rows = dict.fromkeys(days, 0)
    if is_made(address):
        files = DeltaTable(address).get_add_actions(flatten=True)
        found = zip(
            files.column(f"partition.{partition}").to_pylist(), files.column("num_records").to_pylist(), strict=True
        )
        for day, number in found:
            if day in rows:
                rows[day] += number
    return rows


def least_timestamp(address: str, day_column: str, days: Collection[date]) -> datetime | None:
    """Give a bound for `timestamp` in the rows whose DATE column lies within these days: none of them is less.

    From what the table knows of its files; None if there is no table, no such row, or a file of which nothing is known.
    """
    if not is_made(address) or not days:
        return None
    files = DeltaTable(address).get_add_actions(flatten=True)
    names = set(files.column_names)
    is_partition = f"partition.{day_column}" in names
    low, high = (f"partition.{day_column}",) * 2 if is_partition else (f"min.{day_column}", f"max.{day_column}")
    if not {low, high, "min.timestamp"} <= names:
        return None
    first, last, least = (files.column(name).to_pylist() for name in (low, high, "min.timestamp"))
    found = [row for row in zip(first, last, least, strict=True) if _may_hold(row[0], row[1], days)]
    return min((row[2] for row in found), default=None) if None not in [row[2] for row in found] else None


def _may_hold(first: date | None, last: date | None, days: Collection[date]) -> bool:
    return first is None or last is None or (first <= max(days) and last >= min(days))


def query(address: str, version: int, text: str) -> list[tuple[Any, ...]]:
    """Answer a small question about the rows that a commit left, in DataFusion's SQL; the table's name is `stored`."""
    table = DeltaTable(address, version=version)
    answer = QueryBuilder().register("stored", table).execute(text).read_all()
    return list(zip(*[answer.column(name).to_pylist() for name in answer.column_names], strict=True))
