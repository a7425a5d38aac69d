"""Commits of changed rows: by their row addresses, through our own compiled class beside Delta's, or by public MERGE.

The only way to Delta's internals, all of them in `jars/delta/RowCommit.scala`. Must not know which table it writes,
which changes are made, or why.
Source of the rules: R16 (one commit), R19 (no needless write).

A MERGE looks for the rows that it replaces: it joins all changes with every file that may hold one, three times. The
run that computed the changes has read these rows, so their addresses (file and row index) are known, and a commit that
uses them costs what it changes. MERGE is kept as the reference, and as the way back.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from delta import exceptions
from delta.tables import DeltaMergeBuilder, DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.types import StructType

from sessions_assets.rule.changes import DELETE, INSERT, UPDATE
from sessions_assets.rule.events import quoted

ROW_ADDRESS = "row_address"

# All writers of a table take their transaction numbers from one sequence: the version they read, plus one. The same
# name marks their commits in the table's history.
_APPLICATION = "sessions_assets"
# What Delta raises when another commit came first; in Python these have no common class of their own.
CONFLICTS = (
    exceptions.ConcurrentAppendException,
    exceptions.ConcurrentDeleteDeleteException,
    exceptions.ConcurrentDeleteReadException,
    exceptions.ConcurrentTransactionException,
    exceptions.ConcurrentWriteException,
    exceptions.MetadataChangedException,
    exceptions.ProtocolChangedException,
)
_NOT_AS_READ = "a changed row is not stored as it was read"


class OvertakenError(Exception):
    """Another run has written the table since the version that was read."""

    def __init__(self, address: str, read_version: int) -> None:
        super().__init__(f"another run has written {address} since version {read_version}, which this run has read")


class WrongChangesError(Exception):
    """The rows to be written are not the rows that were counted."""


@dataclass(frozen=True)
class RowChanges:
    """Changed rows of a table, each at most once.

    Attributes:
        rows: what `columns` is made of, `change` (inserted, changed or removed), and STRUCT `row_address`
            (file, row_index) of the stored row, as `row_address` gave it for the version that was read; NULL if none is
            stored.
        inserted, updated, deleted: how many rows these are.
        first: the least day of their partitions.
        last: the greatest.
        columns: the columns of the table by name.
        identity: names of those that tell one row from all others.
        partition: the name of the DATE column by which the table is partitioned; None: it is not.
    """

    rows: DataFrame
    inserted: int
    updated: int
    deleted: int
    first: date
    last: date
    columns: Mapping[str, Column]
    identity: tuple[str, ...]
    partition: str | None

    @property
    def number(self) -> int:
        """Return the number of all rows."""
        return self.inserted + self.updated + self.deleted

    @property
    def within(self) -> str:
        """Return a condition in SQL that holds for all of the rows."""
        if self.partition is None:
            return "true"
        return f"{self.partition} BETWEEN DATE'{self.first}' AND DATE'{self.last}'"


@dataclass(frozen=True)
class Committed:
    """A commit: its version, and the id of its transaction, `txnId` in the log; None: it has to be read there."""

    version: int
    txn_id: str | None = None


def row_address(rows: DataFrame) -> Column:
    """Return STRUCT `row_address` of rows of a Delta table: the file that holds each row, and its index in it."""
    # The table may have a column of that name itself.
    metadata = rows.metadataColumn("_metadata")
    file, index = metadata["file_path"], metadata["row_index"]
    return F.struct(file.alias("file"), index.alias("row_index")).alias(ROW_ADDRESS)


def commit_rows(
    spark: SparkSession, address: str, read_version: int, changes: RowChanges, notes: Mapping[str, Any]
) -> Committed:
    """Append new rows and mark superseded ones in deletion vectors, in one commit on the version that was read.

    Raises:
        OvertakenError: another run has written since; nothing was committed.
        WrongChangesError: the rows that would be added or superseded are not as many as the changes say; nothing was
            committed.
    """
    change = F.col("change")
    added = as_stored(changes.rows.where(change != DELETE), changes.columns)
    superseded = changes.rows.where(change != INSERT).select(f"{ROW_ADDRESS}.*")
    with _refused(address, read_version, changes):
        done = _row_commit(spark).commitRows(
            address, read_version, added._jdf, superseded._jdf, changes.within,  # noqa: SLF001 - Delta takes Java's
            changes.inserted, changes.updated, changes.deleted, as_text(notes),
        )  # fmt: skip
    return Committed(done.version(), done.txnId())


def commit_merge(
    spark: SparkSession, address: str, read_version: int, changes: RowChanges, notes: Mapping[str, Any]
) -> Committed:
    """Make the same changes by MERGE, with nothing but Delta's public interface.

    Before the MERGE the changes are counted by kind; a row that is not stored as its change says fails it before its
    commit. MERGE takes no version to start from, so the newest one is compared before it. From then on Delta refuses or
    skips it if a run of this project commits, by the transaction number. A commit of another program just then,
    and an event that is stored twice, of which MERGE changes both rows, are only found after the commit; applying the
    same days again then starts from what the table holds.

    Raises:
        OvertakenError: another run has written since the version that was read.
        WrongChangesError: the changes are not as many as they say, or are not those of the stored rows.
    """
    table = DeltaTable.forPath(spark, address)
    if _newest(table) != read_version:
        raise OvertakenError(address, read_version)
    counted = {row["change"]: row["count"] for row in changes.rows.groupBy("change").count().collect()}
    _check(address, changes, [counted.get(change, 0) for change in (INSERT, UPDATE, DELETE)])
    with _merging(spark, read_version, as_text(notes)), _refused(address, read_version, changes):
        merged = _merge_of(table, changes).execute().collect()
    # Delta skips a MERGE whose transaction number another run has used.
    version = _version_with(table, read_version, as_text(notes)) if merged else None
    if version is None or version != read_version + 1:
        raise OvertakenError(address, read_version)
    _check(address, changes, [merged[0][f"num_{kind}_rows"] for kind in ("inserted", "updated", "deleted")])
    return Committed(version)


def alter(
    spark: SparkSession, address: str, read_version: int, columns: Mapping[str, str], properties: Mapping[str, str]
) -> int:
    """Add nullable columns of text, by name and comment, and set properties; return the version after that.

    These commits are not marked as ours: what was applied before them is applied again when it is asked for.

    Raises:
        OvertakenError: another run has written since the version that was read.
    """
    listed = ", ".join(f"{quoted(name)} STRING COMMENT '{_escaped(text)}'" for name, text in columns.items())
    pairs = ", ".join(f"'{_escaped(name)}' = '{_escaped(value)}'" for name, value in properties.items())
    statements = [f"ADD COLUMNS ({listed})"] if columns else []
    statements += [f"SET TBLPROPERTIES ({pairs})"]
    with _refused(address, read_version):
        for statement in statements:
            try:
                spark.sql(f"ALTER TABLE delta.{quoted(address)} {statement}")
            except AnalysisException as error:
                if "already exists" in str(error):
                    raise OvertakenError(address, read_version) from error
                raise
    # The commit that follows is refused unless this is the newest version then.
    return read_version + len(statements)


def replace_all(  # noqa: PLR0913, PLR0917 - a commit says what it replaces by what
    spark: SparkSession,
    address: str,
    read_version: int,
    rows: DataFrame,
    properties: Mapping[str, str],
    notes: Mapping[str, Any],
) -> Committed:
    """Replace all rows and set properties, in one commit on the version that was read.

    In SQL this is REPLACE TABLE AS SELECT, but that loses the NOT NULL of every column and takes no version.

    Raises:
        OvertakenError: another run has written since; nothing was committed.
    """
    with _refused(address, read_version):
        done = _row_commit(spark).replaceAll(
            address, read_version, rows._jdf, dict(properties), as_text(notes)  # noqa: SLF001 - as in `commit_rows`
        )  # fmt: skip
    return Committed(done.version(), done.txnId())


def create_table(
    spark: SparkSession, address: str, schema: StructType, partitions: Sequence[str], properties: Mapping[str, str]
) -> None:
    """Create an empty table in one commit, NOT NULL and comments as the schema says, unless there is one.

    Another process may create it at the same time, or have been killed while it did. No public call does this: Delta's
    builder refuses a folder that is not empty; delta-rs, asked for deletion vectors, makes a table that needs readers
    of VARIANT too, or one whose protocol no longer asks writers for NOT NULL.
    """
    session = spark._jsparkSession  # noqa: SLF001 - as in `_row_commit`
    _row_commit(spark).createTable(session, address, schema.json(), list(partitions), dict(properties))


def id_of(commit: Mapping[str, Any]) -> str:
    """Return the id of a commit in a table's history: unique, also among the commits of an earlier table there."""
    # Other engines give it no id.
    return str(commit.get("txnId") or f"{commit['version']}@{commit['timestamp']}")


def notes_of(commit: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a commit of this project notes of itself in a table's history; None: another program made it."""
    text = commit.get("userMetadata")
    if text == _APPLICATION:
        return {}  # of an edition without notes
    try:
        notes = json.loads(text or "null")
    except ValueError:
        return None
    return notes if isinstance(notes, dict) and notes.pop("application", None) == _APPLICATION else None


def is_ours(commit: Mapping[str, Any]) -> bool:
    """Return whether this project made a commit in a table's history, or the commit changes no row."""
    return notes_of(commit) is not None or commit.get("operation") == "OPTIMIZE"


def as_stored(rows: DataFrame, columns: Mapping[str, Column]) -> DataFrame:
    """Return the columns of a table, by their names."""
    return rows.select(*[value.alias(name) for name, value in columns.items()])


def as_text(notes: Mapping[str, Any]) -> str:
    """Return what a commit notes of itself as `userMetadata`."""
    return json.dumps({"application": _APPLICATION, **notes}, ensure_ascii=False, default=str)


def _row_commit(spark: SparkSession) -> Any:  # noqa: ANN401 - a Scala object
    java: Any = spark._jvm  # noqa: SLF001 - there is no public way to a class of our own
    return java.org.apache.spark.sql.delta.sessions_assets.RowCommit


@contextmanager
def _refused(address: str, read_version: int, changes: RowChanges | None = None) -> Iterator[None]:
    """Raise this module's errors for those of Spark, Delta and RowCommit."""
    try:
        yield
    except CONFLICTS as error:
        raise OvertakenError(address, read_version) from error
    except Py4JJavaError as error:
        thrown: Any = error.java_exception
        name = thrown.getClass().getSimpleName()
        if name == "OvertakenException":
            raise OvertakenError(address, read_version) from error
        if name == "WrongCountsException" and changes:
            problem = f"{thrown.added()} rows would be added and {thrown.superseded()} superseded"
            raise _wrong(address, changes, problem) from error
        raise
    except PySparkException as error:
        if _NOT_AS_READ in str(error) and changes:
            raise _wrong(address, changes, _NOT_AS_READ) from error
        raise


def _check(address: str, changes: RowChanges, numbers: Sequence[int]) -> None:
    if tuple(numbers) != (changes.inserted, changes.updated, changes.deleted):
        raise _wrong(address, changes, "{} rows inserted, {} changed, {} removed".format(*numbers))


def _wrong(address: str, changes: RowChanges, problem: str) -> WrongChangesError:
    counted = f"{changes.inserted} inserted, {changes.updated} changed, {changes.deleted} removed"
    return WrongChangesError(
        f"{address}: {problem}, but {counted} were counted; materialize the days again, and start check_sessions if it "
        "repeats"
    )


def _newest(table: DeltaTable) -> int:
    return int(table.history(1).collect()[0]["version"])


def _merge_of(table: DeltaTable, changes: RowChanges) -> DeltaMergeBuilder:
    """Build the MERGE: each change to the row that it means, and an error for any other."""
    keys = (*changes.identity, *([changes.partition] if changes.partition else []))
    # Under names of our own: those of attributes may be any.
    numbered = {name: f"value_{number}" for number, name in enumerate(changes.columns)}
    source = changes.rows.select("change", *[changes.columns[name].alias(n) for name, n in numbered.items()])
    values = {quoted(name): f"new.{column}" for name, column in numbered.items()}
    others = {quoted(name): f"new.{column}" for name, column in numbered.items() if name not in keys}
    first, kind = next((name, source.schema[n].dataType) for name, n in numbered.items() if name not in keys)
    error = {quoted(first): f"CAST(raise_error('{_NOT_AS_READ}') AS {kind.simpleString()})"}
    is_same_row = " AND ".join(f"stored.{key} = new.{numbered[key]}" for key in keys)
    has_same_values = " AND ".join(f"stored.{column} <=> {value}" for column, value in others.items())
    return (
        table.alias("stored")
        .merge(source.alias("new"), f"{is_same_row} AND stored.{changes.within}")
        .whenMatchedDelete(f"new.change = '{DELETE}'")
        .whenMatchedUpdate(f"new.change = '{UPDATE}' AND NOT ({has_same_values})", dict(others))
        .whenMatchedUpdate(set=dict(error))
        .whenNotMatchedInsert(f"new.change = '{INSERT}'", dict(values))
        .whenNotMatchedInsert(values={**values, **error})
    )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("'", r"\'")


@contextmanager
def _merging(spark: SparkSession, read_version: int, notes: str) -> Iterator[None]:
    """Set what a MERGE can only be told by the session."""
    settings = {
        "spark.databricks.delta.write.txnAppId": _APPLICATION,
        "spark.databricks.delta.write.txnVersion": str(read_version + 1),
        "spark.databricks.delta.commitInfo.userMetadata": notes,
        # It reads the changes up to three times.
        "spark.databricks.delta.merge.materializeSource": "all",
    }
    for name, value in settings.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name in settings:
            spark.conf.unset(name)


def _version_with(table: DeltaTable, read_version: int, notes: str) -> int | None:
    """Return the first version with these notes after another one."""
    ours = table.history(100).where((F.col("version") > read_version) & (F.col("userMetadata") == notes))
    versions = [int(row["version"]) for row in ours.select("version").collect()]
    return min(versions, default=None)
