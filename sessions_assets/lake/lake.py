"""The lake: what Spark reads and writes in the Delta tables, each write one commit and safe to repeat.

Must not know Dagster, the environment or the rule. Versions, properties and counts are asked without Spark.
Source of the rules: R16 (one commit), R17 (a raw day is replaced), R19 (no needless write), R21 (days expire).
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from math import ceil
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.types import DataType, StructType

from sessions_assets.lake.commits import (
    CONFLICTS,
    ROWS,
    OvertakenError,
    RowChanges,
    WrongChangesError,
    commit_changes,
    create_table,
    id_of,
    is_ours,
    replace_all,
    with_row_addresses,
)
from sessions_assets.lake.delta_table import StoredTable
from sessions_assets.lake.ledger import Ledger
from sessions_assets.lake.tables import DELIVERIES, ODS_SESSIONS, Table
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE
from sessions_assets.rule.events import ARRIVAL_DAY, KEY_COLUMNS
from sessions_assets.storage import LOCAL, Storage

# Delta's own target of a compaction, in bytes; a date with more has several files and is none the worse for it.
_LARGEST_FILE = 1 << 30


# A month: a day makes two, its own and that of compaction. What was applied before is applied again when asked for.
_COMMITS_LOOKED_AT = 60


class LakeError(Exception):
    """The lake is not in the state that a request needs. Says what is wrong and what to do."""


@dataclass(frozen=True)
class Measured:
    """Rows that a table holds of an arrival day: those that are so many days late, in a session or not.

    Attributes:
        day: the arrival day, of stored rows the one that first brought them.
        days_late: days from the event date to the arrival.
        rows: how many there are.
        keys: about how many keys they have.
        first: the least `timestamp`.
        is_stored: rows of ods_sessions; else accepted rows of the batch.
        is_empty: stored rows in no session.
    """

    day: date
    days_late: int
    rows: int
    keys: int
    first: datetime
    is_stored: bool = False
    is_empty: bool = False


class Lake:
    """The tables below one root, opened with one Spark session.

    Args:
        spark: a session with Delta's extension, pinned to UTC.
        root: a folder or bucket prefix; made when it is not there.
        storage: how an S3 bucket is reached.
        commit: how changed sessions are written, one of `WAYS`.
    """

    def __init__(self, spark: SparkSession, root: str, storage: Storage = LOCAL, commit: str = ROWS) -> None:
        self.spark = spark
        self.commit = commit
        self._root = root.rstrip("/")
        self._options = storage.for_delta(root)
        self.ledger = Ledger(self.stored(DELIVERIES))

    def path(self, table: Table) -> str:
        """Give the address of a table."""
        return f"{self._root}/{table.name}"

    def stored(self, table: Table) -> StoredTable:
        """Give a table as it is asked without Spark."""
        return StoredTable(self.path(table), self._options)

    def create(self, table: Table, properties: Mapping[str, str] | None = None) -> None:
        """Create a table that is not there; one that is there stays as it is."""
        if self.stored(table).is_made():
            return
        partitions = [table.partition] if table.partition else []
        all_properties = {"delta.enableDeletionVectors": str(table.changes_rows).lower(), **(properties or {})}
        create_table(self.spark, self.path(table), schema_of(table), partitions, all_properties)

    def read(self, table: Table, version: int | None = None) -> DataFrame:
        """Read a whole table as a commit left it; without a version, each query reads it as it is then.

        Raises:
            LakeError: the table was never made.
        """
        self._check_made(table)
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.path(table))

    def _check_made(self, table: Table) -> None:
        if not self.stored(table).is_made():
            raise LakeError(f"{self.path(table)} does not exist: materialize raw_events and ods_sessions first")

    def properties(self, table: Table) -> dict[str, str]:
        """Read the properties of a table."""
        return self.stored(table).properties()

    def version(self, table: Table) -> int:
        """Give the number of the newest commit of a table.

        Raises:
            LakeError: the table was never made.
        """
        self._check_made(table)
        return self.stored(table).version()

    def read_days(self, table: Table, days: Collection[date], version: int | None = None) -> DataFrame:
        """Read the arrival days of a table that is partitioned by them."""
        return self.read(table, version).where(F.col(ARRIVAL_DAY).isin(*days))

    def replace_days(self, table: Table, days: Collection[date], rows: DataFrame) -> None:
        """Put these rows in the place of whole arrival days, in one commit (R17).

        Raises:
            LakeError: another run replaces one of these days at the same time.
        """
        self.create(table)
        writer = rows.select(*[column.name for column in table.columns]).write.format("delta").mode("overwrite")
        try:
            writer.option("replaceWhere", f"{ARRIVAL_DAY} IN ({_literals(days)})").save(self.path(table))
        except CONFLICTS as error:
            raise LakeError(f"another run replaces {', '.join(map(str, days))} in {self.path(table)}") from error

    def count_rows(self, table: Table, days: Collection[date], version: int | None = None) -> dict[date, int]:
        """Count the rows of arrival days from what the table knows of its files, without reading them."""
        return self.stored(table).count_rows(ARRIVAL_DAY, days, version)

    def count_days(self, table: Table, days: Collection[date], kind: str) -> list[tuple[date, Any, int]]:
        """Count the rows of arrival days by a kind, an expression in SQL, without Spark: each day, kind and number."""
        stored = self.stored(table)
        text = f"""
            SELECT {ARRIVAL_DAY}, {kind} AS kind, count(*) AS rows
            FROM stored WHERE {ARRIVAL_DAY} IN ({_literals(days)}) GROUP BY 1, 2
        """  # noqa: S608 - our own words and dates
        return stored.query(text) if days and stored.is_made() else []

    def measure(self, table: Table, days: Collection[date], version: int) -> list[Measured]:
        """Measure what raw_events or ods_sessions holds of arrival days, as a commit left it, without Spark."""
        is_stored = table == ODS_SESSIONS
        day, is_empty = ("first_updated_at", "session_start IS NULL") if is_stored else (ARRIVAL_DAY, "false")
        text = f"""
            SELECT {day}, {day} - CAST(timestamp AS DATE) AS days_late, count(*) AS rows,
                approx_distinct(concat({", ' ', ".join(KEY_COLUMNS)})) AS keys, min(timestamp) AS first,
                {is_stored} AS is_stored, {is_empty} AS is_empty
            FROM stored WHERE {day} IN ({_literals(days)}) GROUP BY {day}, days_late, is_empty
        """  # noqa: S608 - our own words and dates
        return [Measured(*row) for row in self.stored(table).query(text, version)]

    def least_timestamp(self, table: Table, day_column: str, days: Collection[date]) -> datetime | None:
        """Give a lower bound for the events that these days brought, by what is known of the files; None: unknown."""
        return self.stored(table).least_timestamp(day_column, days)

    def delete_days(self, table: Table, days: Collection[date]) -> None:
        """Delete whole arrival days, in one commit; none if nothing is there."""
        if days and self.stored(table).is_made():
            DeltaTable.forPath(self.spark, self.path(table)).delete(f"{table.partition} IN ({_literals(days)})")

    def commit_id(self, table: Table, version: int) -> str:
        """Give what tells a commit from all others, those of another table in the same place too."""
        return id_of(self.stored(table).commits(1, version)[0])

    def own_commits(self, table: Table) -> set[str]:
        """Give the ids of the last commits, back to one of somebody else, that one included.

        What the table held after each of them only this project has changed since.
        """
        ids: set[str] = set()
        for commit in self.stored(table).commits(_COMMITS_LOOKED_AT):
            ids.add(id_of(commit))
            if not is_ours(commit):
                break
        return ids

    def sessions_in_reach(self, first: date, version: int) -> DataFrame:
        """Read the stored rows from an event date on, as a commit left them, each with its `row_address`."""
        return with_row_addresses(self.read(ODS_SESSIONS, version)).where(F.col("pdate") >= first)

    def merge_sessions(self, changes: DataFrame, rows: Mapping[str, int], first: date, last: date, version: int) -> int:
        """Write changed rows into ods_sessions in one commit (R16, R19); give its version.

        Args:
            changes: at most one row per event, as `RowChanges` has them.
            rows: how many of them are inserted, changed and removed.
            first: least `pdate` among them.
            last: greatest `pdate` among them.
            version: the one from which they were computed.

        Raises:
            LakeError: somebody else has written since, or the rows are not as many; then nothing is written.
        """
        changed = RowChanges(changes, rows[INSERT], rows[UPDATE], rows[DELETE], first, last)
        with _one_writer():
            return commit_changes(self.spark, self.path(ODS_SESSIONS), version, changed, self.commit).version

    def replace_sessions(self, rows: DataFrame, properties: Mapping[str, str], read_version: int) -> int:
        """Put these rows in the place of all of ods_sessions and set properties, in one commit; give its version.

        Raises:
            LakeError: somebody else has written since `read_version`, from which the rows were computed.
        """
        with _one_writer():
            return replace_all(self.spark, self.path(ODS_SESSIONS), read_version, rows, properties).version

    def compact_sessions(self, before: date) -> list[date]:
        """Rewrite the event dates before this one that lie in many files or under deletion vectors, sorted by key.

        The rows stay what they are. A date that was rewritten, and did not change since, is left alone.

        Returns:
            The dates that were rewritten.
        """
        files = self.stored(ODS_SESSIONS).files_by_day("pdate")
        dates = sorted(
            day
            for day, found in files.items()
            if day < before and (found.with_vectors or found.number > ceil(found.size / _LARGEST_FILE))
        )
        if dates:
            table = DeltaTable.forPath(self.spark, self.path(ODS_SESSIONS))
            table.optimize().where(f"pdate IN ({_literals(dates)})").executeZOrderBy(*KEY_COLUMNS)
        return dates

    def sessions_by_hour(self, dates: Collection[date], version: int) -> dict[date, dict[int, int]]:
        """Count the sessions that began on these event dates, by hour of the day in UTC; where there are none, no hour.

        Reads only the event dates asked for, without Spark: it is for a picture.
        """
        hours: dict[date, dict[int, int]] = {day: {} for day in dates}
        text = f"""
            SELECT pdate, CAST(date_part('hour', session_start) AS INT) AS hour, count(DISTINCT session_id) AS sessions
            FROM stored WHERE session_start = timestamp AND pdate IN ({_literals(dates)}) GROUP BY 1, 2
        """  # noqa: S608 - dates
        for day, hour, sessions in self.stored(ODS_SESSIONS).query(text, version):
            hours[day][hour] = sessions
        return hours

    def vacuum(self, table: Table) -> None:
        """Delete the files that no version of the last seven days needs, Delta's own safety check on."""
        if self.stored(table).is_made():
            DeltaTable.forPath(self.spark, self.path(table)).vacuum()


def schema_of(table: Table) -> StructType:
    """Return the schema of a table as Spark has it, with the meaning of each column as its comment."""
    schema = StructType()
    for column in table.columns:
        schema.add(column.name, DataType.fromDDL(column.sql_type), column.nullable, {"comment": column.meaning})
    return schema


@contextmanager
def _one_writer() -> Iterator[None]:
    try:
        yield
    except OvertakenError as error:
        raise LakeError(f"{error}: materialize the days of this run again, one run at a time") from error
    except WrongChangesError as error:
        raise LakeError(str(error)) from error


def _literals(days: Collection[date]) -> str:
    return ", ".join(f"DATE'{day}'" for day in days)
