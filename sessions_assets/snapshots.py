"""What a Delta table says of itself without a JVM: whether it is there, its version, properties, and rows of a day.

Must not know Spark, Dagster or what the tables are for.
"""

from collections.abc import Collection
from datetime import date

from deltalake import DeltaTable


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
