"""The lake: what Spark reads and writes in the Delta tables, each write one commit and safe to repeat.

Must not know Dagster, the environment or the rule. What needs no rows (versions, properties) is asked without Spark.
Source of the rules: S16 (one commit), S17 (a raw day is replaced), S19 (no needless write).
"""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

import deltalake
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.events import ARRIVAL_DAY, IDENTITY_COLUMNS
from sessions_assets.ledger import Ledger
from sessions_assets.sessions import DELETE, SESSION_COLUMNS
from sessions_assets.tables import DELIVERIES, ODS_SESSIONS, Table


class LakeError(Exception):
    """The lake is not in the state that a request needs. Says what is wrong and what to do."""


class Lake:
    """The tables below one root, opened with one Spark session.

    Args:
        spark: a session with Delta's extension, pinned to UTC.
        root: a folder or bucket prefix; made when it is not there.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self._root = root.rstrip("/")
        self.ledger = Ledger(self.path(DELIVERIES))

    def path(self, table: Table) -> str:
        """Give the address of a table."""
        return f"{self._root}/{table.name}"

    def create(self, table: Table, properties: Mapping[str, str] | None = None) -> None:
        """Create a table that is not there; one that is there stays as it is."""
        if deltalake.DeltaTable.is_deltatable(self.path(table)):
            return
        builder = DeltaTable.createIfNotExists(self.spark).location(self.path(table))
        for column in table.columns:
            builder = builder.addColumn(column.name, column.sql_type, nullable=column.nullable, comment=column.meaning)
        if table.partition:
            builder = builder.partitionedBy(table.partition)
        for name, value in {"delta.enableDeletionVectors": "true", **(properties or {})}.items():
            builder = builder.property(name, value)
        builder.execute()

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        """Read a whole table as it is now, or as a commit left it.

        Raises:
            LakeError: the table was never made.
        """
        if not deltalake.DeltaTable.is_deltatable(self.path(table)):
            raise LakeError(f"{self.path(table)} does not exist: materialize raw_events and ods_sessions first")
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path(table))

    def properties(self, table: Table) -> dict[str, str]:
        """Read the properties of a table."""
        return dict(deltalake.DeltaTable(self.path(table)).metadata().configuration)

    def version(self, table: Table) -> int:
        """Give the number of the newest commit of a table."""
        return deltalake.DeltaTable(self.path(table)).version()

    def read_days(self, table: Table, days: Collection[date]) -> DataFrame:
        """Read the arrival days of a table that is partitioned by them."""
        return self.read(table).where(F.col(ARRIVAL_DAY).isin(*days))

    def replace_days(self, table: Table, days: Collection[date], rows: DataFrame) -> None:
        """Put these rows in the place of whole arrival days, in one commit (S17)."""
        self.create(table)
        literals = ", ".join(f"DATE'{day}'" for day in days)
        (
            rows.select(*[column.name for column in table.columns])
            .write.format("delta")
            .mode("overwrite")
            .option("replaceWhere", f"{ARRIVAL_DAY} IN ({literals})")
            .save(self.path(table))
        )

    def merge_sessions(self, changes: DataFrame, first: date, last: date) -> None:
        """Write changed rows into ods_sessions in one commit (S16, S19).

        Args:
            changes: at most one row per event, the columns of the table and `change`.
            first: least `pdate` among them; files outside first..last are not read.
            last: greatest `pdate` among them.
        """
        is_same_event = " AND ".join(f"ods.{c} = change.{c}" for c in (*IDENTITY_COLUMNS, "pdate"))
        in_bounds = f"ods.pdate BETWEEN DATE'{first}' AND DATE'{last}'"
        values: dict[str, Any] = {column: f"change.{column}" for column in SESSION_COLUMNS}
        (
            DeltaTable.forPath(self.spark, self.path(ODS_SESSIONS))
            .alias("ods")
            .merge(changes.alias("change"), f"{is_same_event} AND {in_bounds}")
            .whenMatchedDelete(f"change.change = '{DELETE}'")
            .whenMatchedUpdate(set=values)
            .whenNotMatchedInsert(values=values)
            .execute()
        )
