"""The lake: the four Delta tables, and the writes that may be done to them, each safe to repeat.

Must not know Dagster, the environment or the rule.
Source of the rules: S16 (one commit), S17 (a raw day is replaced), S19 (no needless write), S20 (empty is not
missing), S22 (the rule is remembered).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.events import ARRIVAL_DAY, IDENTITY_COLUMNS
from sessions_assets.sessions import DELETE, SESSION_COLUMNS


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, SQL type, meaning, and whether it may be NULL."""

    name: str
    sql_type: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the lake: name (of the folder and of the asset), columns, partition column."""

    name: str
    columns: tuple[Column, ...]
    partition: str | None = None


_EVENT = (
    Column("user_id", "STRING", "who, exactly as delivered"),
    Column("event_id", "STRING", "what happened, exactly as delivered"),
    Column("product_code", "STRING", "in which product, exactly as delivered"),
    Column("timestamp", "TIMESTAMP", "when it happened, UTC, to the microsecond"),
)
_ARRIVAL = Column(ARRIVAL_DAY, "DATE", "arrival day: the day that names the batch")

RAW_EVENTS = Table("raw_events", (*_EVENT, _ARRIVAL), ARRIVAL_DAY)
RAW_QUARANTINE = Table(
    "raw_quarantine",
    (
        Column("reason", "STRING", "why the row is no event"),
        Column("raw_text", "STRING", "the row as it was delivered (Parquet rows as JSON)"),
        Column("source_file", "STRING", "the file that held it"),
        _ARRIVAL,
    ),
    ARRIVAL_DAY,
)
DELIVERIES = Table(
    "deliveries",
    (
        _ARRIVAL,
        Column("source", "STRING", "the file or folder, below the landing"),
        Column("fingerprint", "STRING", "changes whenever a file of the batch does"),
        Column("rows_delivered", "BIGINT", "rows in the batch"),
        Column("rows_accepted", "BIGINT", "rows that went to raw_events"),
        Column("rows_quarantined", "BIGINT", "rows that went to raw_quarantine"),
        Column("landed_at", "TIMESTAMP", "when raw_events took the batch, UTC"),
        Column("applied_at", "TIMESTAMP", "when ods_sessions applied it, UTC; NULL: not yet", nullable=True),
    ),
)
ODS_SESSIONS = Table(
    "ods_sessions",
    (
        *_EVENT,
        Column("is_user_action", "BOOLEAN", "a person did it (else the program): only these make sessions"),
        Column("session_id", "STRING", "user_id#product_code#session_start; NULL: in no session", nullable=True),
        Column("session_start", "TIMESTAMP", "first action of the session; NULL: in no session", nullable=True),
        Column("first_updated_at", "DATE", "the least arrival day that holds the event"),
        Column("pdate", "DATE", "event date: the UTC date of timestamp"),
    ),
    "pdate",
)
TABLES = (RAW_EVENTS, RAW_QUARANTINE, DELIVERIES, ODS_SESSIONS)


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

    def path(self, table: Table) -> str:
        """Give the address of a table."""
        return f"{self._root}/{table.name}"

    def create(self, table: Table, properties: Mapping[str, str] | None = None) -> None:
        """Create a table that is not there; one that is there stays as it is."""
        if DeltaTable.isDeltaTable(self.spark, self.path(table)):
            return
        builder = DeltaTable.createIfNotExists(self.spark).location(self.path(table))
        for column in table.columns:
            builder = builder.addColumn(column.name, column.sql_type, nullable=column.nullable, comment=column.meaning)
        if table.partition:
            builder = builder.partitionedBy(table.partition)
        for name, value in {"delta.enableDeletionVectors": "true", **(properties or {})}.items():
            builder = builder.property(name, value)
        builder.execute()

    def read(self, table: Table) -> DataFrame:
        """Read a whole table, with its columns in their order.

        Raises:
            LakeError: the table was never made.
        """
        if not DeltaTable.isDeltaTable(self.spark, self.path(table)):
            raise LakeError(f"{self.path(table)} does not exist: materialize raw_events and ods_sessions first")
        return self.spark.read.format("delta").load(self.path(table))

    def properties(self, table: Table) -> dict[str, str]:
        """Read the properties of a table."""
        return dict(DeltaTable.forPath(self.spark, self.path(table)).detail().collect()[0]["properties"])

    def version(self, table: Table) -> int:
        """Give the number of the newest commit of a table."""
        return int(DeltaTable.forPath(self.spark, self.path(table)).history(1).collect()[0]["version"])

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

    def forget_landed(self, days: Collection[date]) -> None:
        """Take these days out of the ledger; the first write of a landing, so that a crash leaves no false row."""
        if self.ledger(days):
            DeltaTable.forPath(self.spark, self.path(DELIVERIES)).delete(F.col(ARRIVAL_DAY).isin(*days))

    def record_landed(self, landed: Sequence[Row]) -> None:
        """Note in the ledger what raw_events took, as not yet applied; the last write of a landing."""
        self.create(DELIVERIES)
        schema = ", ".join(f"{column.name} {column.sql_type}" for column in DELIVERIES.columns)
        rows = self.spark.createDataFrame(list(landed), schema).coalesce(1)
        rows.write.format("delta").mode("append").save(self.path(DELIVERIES))

    def record_applied(self, days: Collection[date], applied_at: datetime) -> None:
        """Note in the ledger that ods_sessions holds these days; the last write of an application."""
        DeltaTable.forPath(self.spark, self.path(DELIVERIES)).update(
            F.col(ARRIVAL_DAY).isin(*days), {"applied_at": F.lit(applied_at)}
        )

    def ledger(self, days: Collection[date]) -> dict[date, Row]:
        """Read what the ledger says of these days; a day that was never delivered is left out (S20)."""
        if not DeltaTable.isDeltaTable(self.spark, self.path(DELIVERIES)):
            return {}
        return {row[ARRIVAL_DAY]: row for row in self.read_days(DELIVERIES, days).collect()}
