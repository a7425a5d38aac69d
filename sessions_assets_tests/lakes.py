"""A lake with the Spark session of the tests, and short ways to read and write its tables."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from sessions_assets.lake import lake, raw
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.spark import create, read
from sessions_assets.lake.tables import Table
from sessions_assets.storage import LOCAL, Storage


class Lake(lake.Lake):
    """A lake that remembers a Spark session."""

    def __init__(self, spark: SparkSession, root: str, storage: Storage = LOCAL, commit: str = lake.ROWS) -> None:
        super().__init__(root, storage, commit)
        self.spark = spark

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        """Read a whole table, now or as a commit left it."""
        return read(self.spark, self.snapshot(table, version))

    def rows(
        self, table: Table, columns: str = "*", where: str = "true", version: int | None = None
    ) -> list[tuple[Any, ...]]:
        """Read rows without Spark, which would take a hundred times as long; naive times mean UTC.

        Args:
            table: now, or as a commit left it.
            columns: as SQL of delta-rs.
            where: the same.
            version: of the commit.
        """
        text = f"SELECT {columns} FROM stored WHERE {where}"  # noqa: S608
        return naive_rows(self.snapshot(table, version), text)

    def version(self, table: Table) -> int:
        """Return the version of a table."""
        return self.snapshot(table).version

    def properties(self, table: Table) -> dict[str, str]:
        """Return the properties of a table."""
        return self.snapshot(table).properties()

    def count_rows(self, table: Table, days: Collection[date]) -> dict[date, int]:
        """Count the rows of arrival days of a raw table; 0 if there is none."""
        return lake.count_rows(self.find(table), days)

    def read_days(self, table: Table, days: Collection[date]) -> DataFrame:
        """Read arrival days of a raw table."""
        return raw.read_days(self.spark, self.snapshot(table), days)

    def create(self, table: Table, properties: Mapping[str, str] | None = None) -> None:
        """Create a table."""
        create(self.spark, self, table, properties)

    def replace_days(self, table: Table, days: Collection[date], rows: DataFrame) -> None:
        """Replace arrival days of a raw table, which is created if it is not there; columns that rows lack are NULL."""
        self.create(table)
        missing = {c.name: F.lit(None).cast(c.sql_type) for c in table.columns if c.name not in rows.columns}
        raw.replace_days(self, table, days, rows.withColumns(missing))

    def delete_days(self, table: Table, days: Collection[date]) -> None:
        """Delete arrival days of a raw table."""
        raw.delete_days(self.spark, self.snapshot(table), days)


def naive_rows(snapshot: Snapshot, text: str) -> list[tuple[Any, ...]]:
    """Run SQL on a snapshot; naive times mean UTC."""
    return [tuple(map(naive, row)) for row in snapshot.query(text)]


def naive(value: Any) -> Any:  # noqa: ANN401 - a value of any column
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value
