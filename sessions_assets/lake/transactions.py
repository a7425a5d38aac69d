"""Commits that Delta's public interface has no call for: only after the version that was read, or with new properties.

Knows Delta's own classes and settings, of the pinned version. Must not know which table is written, or why.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from delta import exceptions
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.types import StructType

# All writers of sessions take their transaction numbers from one sequence: the version they read, plus one.
_APPLICATION = "sessions_assets"
# The setting whose text Delta notes with a commit.
_MARK = "spark.databricks.delta.commitInfo.userMetadata"
# What Delta raises when another commit came first; these have no common class of their own.
CONFLICTS = (
    exceptions.ConcurrentAppendException,
    exceptions.ConcurrentDeleteDeleteException,
    exceptions.ConcurrentDeleteReadException,
    exceptions.ConcurrentTransactionException,
    exceptions.ConcurrentWriteException,
    exceptions.MetadataChangedException,
    exceptions.ProtocolChangedException,
)


class OvertakenError(Exception):
    """Somebody else has written the table since the version that was read; nothing was written."""

    def __init__(self, address: str, read_version: int) -> None:
        super().__init__(f"another run has written {address} since version {read_version}, which this run has read")


def begin_after(spark: SparkSession, address: str, read_version: int) -> Any:  # noqa: ANN401 - a Java object
    """Begin a transaction on the version that was read.

    Raises:
        OvertakenError: there is a newer one.
    """
    _, delta, none = java_of(spark)
    transaction = delta.DeltaLog.forTable(spark._jsparkSession, address).startTransaction(none, none)  # noqa: SLF001
    if transaction.readVersion() != read_version:
        raise OvertakenError(address, read_version)
    # Whatever another writer adds meanwhile was not read.
    transaction.readWholeTable()
    return transaction


def finish(spark: SparkSession, transaction: Any, actions: Any, operation: Any) -> int:  # noqa: ANN401 - Java objects
    """Commit, unless another writer has meanwhile; give the new version.

    Raises:
        OvertakenError: nothing was written.
    """
    java, delta, _ = java_of(spark)
    read_version = int(transaction.readVersion())
    now = java.scala.Option.apply(int(time.time() * 1000))
    number = delta.actions.SetTransaction(_APPLICATION, read_version + 1, now)
    # Asked for, so that Delta fails one of two writers with the same number.
    transaction.txnVersion(_APPLICATION)
    spark.conf.set(_MARK, _APPLICATION)
    try:
        return int(transaction.commit(actions.appended(number), operation))
    except CONFLICTS as error:
        raise OvertakenError(transaction.deltaLog().dataPath().toString(), read_version) from error
    finally:
        spark.conf.unset(_MARK)


def append_after(spark: SparkSession, address: str, read_version: int, rows: DataFrame, where: str) -> bool:
    """Append rows, only after `read_version`, and only if no other writer has meanwhile written any that meet `where`.

    To replace rows Delta first counts all files of a table, in a query of its own; this needs none.

    Args:
        spark: a session with Delta's extension.
        address: of the table.
        read_version: the one that was seen to hold no row that meets `where`.
        rows: the columns of the table.
        where: SQL on partition columns; a row that does not meet it fails the write.

    Returns:
        Whether they were written; not, if the table has a newer version.

    Raises:
        One of CONFLICTS: another writer came first; nothing was written.
    """
    java, delta, none = java_of(spark)
    transaction = delta.DeltaLog.forTable(spark._jsparkSession, address).startTransaction(none, none)  # noqa: SLF001
    if transaction.readVersion() != read_version:
        return False
    condition = parsed(spark, where)
    transaction.trackReadPredicates(java.PythonUtils.toSeq([condition]), True, True)  # noqa: FBT003 - a Scala method
    check = getattr(delta.constraints, "Constraints$Check")("what is replaced", condition)
    actions = transaction.writeFiles(rows._jdf, java.PythonUtils.toSeq([check]))  # noqa: SLF001
    transaction.commitIfNeeded(actions, _replacement(spark, where), java.PythonUtils.toScalaMap({}))
    return True


def _replacement(spark: SparkSession, where: str) -> Any:  # noqa: ANN401 - a Java object
    """Name a commit in the table's history as a write with `replaceWhere` would."""
    java, delta, none = java_of(spark)
    mode, predicate = java.org.apache.spark.sql.SaveMode.Overwrite, java.scala.Option.apply(where)
    return getattr(delta, "DeltaOperations$Write")(mode, none, predicate, *[none] * 6)


def id_of(commit: Mapping[str, Any]) -> str:
    """Give what tells a commit in a table's history from all others, those of another table in its place too."""
    # Other engines give it no id.
    return str(commit.get("txnId") or f"{commit['version']}@{commit['timestamp']}")


def is_ours(commit: Mapping[str, Any]) -> bool:
    """Tell of a commit in a table's history whether this project made it, or it changes no row."""
    return commit.get("userMetadata") == _APPLICATION or commit.get("operation") == "OPTIMIZE"


def create_table(
    spark: SparkSession, address: str, schema: StructType, partitions: Sequence[str], properties: Mapping[str, str]
) -> None:
    """Create an empty table, NOT NULL and comments as the schema says, unless somebody else does at the same time.

    Delta's own builder refuses a folder that is not empty, so it fails beside another process that creates the table,
    and after one that was killed while it did. Commit 0 can only be one, so nothing needs that check.
    """
    java, delta, none = java_of(spark)
    log = delta.DeltaLog.forTable(spark._jsparkSession, address)  # noqa: SLF001 - as in `java_of`
    transaction = log.startTransaction(none, none)
    if transaction.readVersion() >= 0:
        return
    metadata = _with(transaction.metadata(), properties, schema.json(), java.PythonUtils.toSeq(list(partitions)))
    transaction.updateMetadataForNewTable(metadata)
    try:
        transaction.commit(java.PythonUtils.toSeq([]), _manual_update(delta))
    except CONFLICTS:
        # Another process has made it meanwhile.
        return


def replace_after(
    spark: SparkSession, address: str, read_version: int, rows: DataFrame, properties: Mapping[str, str]
) -> int:
    """Replace all rows and set properties in one commit, only after `read_version`; give the new version.

    In SQL this is REPLACE TABLE AS SELECT, but that loses the NOT NULL of every column.

    Raises:
        OvertakenError: nothing was written.
    """
    java, delta, none = java_of(spark)
    session = spark._jsparkSession  # noqa: SLF001 - as in `java_of`
    transaction = begin_after(spark, address, read_version)
    metadata = _with(transaction.metadata(), properties)
    transaction.updateMetadata(metadata, False)  # noqa: FBT003 - a Scala method
    options = delta.DeltaOptions(java.PythonUtils.toScalaMap({}), session.sessionState().conf())
    write = delta.commands.WriteIntoDelta(
        transaction.deltaLog(), java.org.apache.spark.sql.SaveMode.Overwrite, options, metadata.partitionColumns(),
        metadata.configuration(), rows._jdf, none, none, False,  # noqa: FBT003, SLF001
    )  # fmt: skip
    actions = write.write(transaction, session, none, False)  # noqa: FBT003
    return finish(spark, transaction, actions, _manual_update(delta))


def files_by_partition(spark: SparkSession, address: str, column: str) -> DataFrame:
    """Count the files of each partition of a table that is partitioned by one DATE column.

    Returns:
        DATE `partition`; `files`, `bytes` and `deletion_vectors` (files with rows that are marked as deleted).
    """
    _, delta, none = java_of(spark)
    snapshot = delta.DeltaLog.forTable(spark._jsparkSession, address).update(False, none, none)  # noqa: FBT003, SLF001
    return (
        DataFrame(snapshot.allFiles().toDF(), spark)
        .groupBy(F.col("partitionValues")[column].cast("date").alias("partition"))
        .agg(
            F.count("*").alias("files"),
            F.sum("size").alias("bytes"),
            F.count("deletionVector").alias("deletion_vectors"),
        )
    )


def java_of(spark: SparkSession) -> tuple[Any, Any, Any]:
    """Give the JVM, the package of Delta's own classes in it, and Scala's None."""
    java: Any = spark._jvm  # noqa: SLF001 - there is no public way to Delta's own classes
    return java, java.org.apache.spark.sql.delta, java.scala.Option.empty()


def scala_object(package: Any, name: str) -> Any:  # noqa: ANN401 - Java objects
    """Give the one instance of a Scala object."""
    return getattr(getattr(package, f"{name}$"), "MODULE$")


def parsed(spark: SparkSession, text: str) -> Any:  # noqa: ANN401 - a Java object
    """Parse an expression in SQL."""
    return spark._jsparkSession.sessionState().sqlParser().parseExpression(text)  # noqa: SLF001 - as in `java_of`


def _manual_update(delta: Any) -> Any:  # noqa: ANN401 - Java objects
    return scala_object(delta, "DeltaOperations$ManualUpdate")


def _with(metadata: Any, properties: Mapping[str, str], schema: str = "", partitions: Any = None) -> Any:  # noqa: ANN401
    configuration = metadata.configuration()
    for name, value in properties.items():
        configuration = configuration.updated(name, value)
    return metadata.copy(
        metadata.id(), metadata.name(), metadata.description(), metadata.format(), schema or metadata.schemaString(),
        partitions or metadata.partitionColumns(), configuration, metadata.createdTime(),
    )  # fmt: skip
