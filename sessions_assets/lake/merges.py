"""How changed rows are merged into a table by who knows where the old ones lie: some written, some marked as deleted.

Knows Delta's own classes, of the pinned version. Must not know which table is written, or why.
Source of the rules: R16 (one commit), R19 (no needless write).

A MERGE looks for the rows that it replaces: it joins all changes with every file that may hold one, three times.
Whoever computed the changes has read these rows, so their places are known, and the commit costs what it changes. To
readers, and in the table's history, it is a MERGE.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.transactions import begin_after, finish, java_of, parsed, scala_object

PLACE = "row_address"
_FILE, _POSITION = "file", "position"


class WrongChangesError(Exception):
    """Other rows than were counted would be written or given up; nothing was written."""


@dataclass(frozen=True)
class RowChanges:
    """Rows to write and rows to give up; a row that is updated is both.

    Attributes:
        written: the columns of the table.
        given_up: rows with `place`, as `with_places` gave it for the version that was read.
        within: SQL on partition columns that holds for all rows that are given up.
        inserted, updated, deleted: how many rows these are.
    """

    written: DataFrame
    given_up: DataFrame
    within: str
    inserted: int
    updated: int
    deleted: int


def with_places(rows: DataFrame) -> DataFrame:
    """Add to rows of a Delta table STRUCT `place`: the file in which each lies, and its position there."""
    file, position = F.col("_metadata.file_path"), F.col("_metadata.row_index")
    return rows.withColumn(PLACE, F.struct(file.alias(_FILE), position.alias(_POSITION)))


def merge_after(spark: SparkSession, address: str, read_version: int, changes: RowChanges) -> int:
    """Write rows and mark others as deleted in one commit, only after `read_version`; give the new version.

    Raises:
        OvertakenError: somebody else has written since; nothing was written.
        WrongChangesError: nothing was written either.
    """
    java, _, _ = java_of(spark)
    transaction = begin_after(spark, address, read_version)
    actions = java.PythonUtils.toSeq([])
    if changes.inserted + changes.updated:
        actions = transaction.writeFiles(changes.written._jdf)  # noqa: SLF001 - Delta takes Java's
    added = list(_listed(actions))
    marked = 0
    if changes.updated + changes.deleted:
        marks, marked = _marks(spark, transaction, changes)
        actions = actions.appendedAll(marks)
    written = sum(file.numLogicalRecords().get() for file in added)
    if (written, marked) != (changes.inserted + changes.updated, changes.updated + changes.deleted):
        wanted = f"{changes.inserted} inserted, {changes.updated} changed, {changes.deleted} removed"
        raise WrongChangesError(
            f"{written} rows would be written to {address} and {marked} given up, which is not {wanted}: nothing was "
            "written; materialize the days again, and start check_sessions if it repeats"
        )
    _note(spark, transaction, changes, len(added))
    return finish(spark, transaction, actions, _operation(spark, changes.within))


def _marks(spark: SparkSession, transaction: Any, changes: RowChanges) -> tuple[Any, int]:  # noqa: ANN401
    """Write the deletion vectors; give Delta's actions for them and the number of rows they mark anew."""
    java, delta, _ = java_of(spark)
    session, some = spark._jsparkSession, java.scala.Option.apply  # noqa: SLF001
    helper = scala_object(delta.commands, "DMLWithDeletionVectorsHelper")
    generator = scala_object(delta.commands, "DeletionVectorBitmapGenerator")
    column = java.org.apache.spark.sql.functions.col
    files = transaction.filterFiles(java.PythonUtils.toSeq([parsed(spark, changes.within)]), True)  # noqa: FBT003
    rows = generator.buildRowIndexSetsForFilesMatchingCondition(
        session, transaction, True, changes.given_up._jdf, files, parsed(spark, "true"),  # noqa: FBT003, SLF001
        some(column(f"{PLACE}.{_FILE}")), some(column(f"{PLACE}.{_POSITION}")),
    )  # fmt: skip
    by_name = helper.generateCandidateFileMap(transaction.deltaLog().dataPath(), files)
    touched = helper.findFilesWithMatchingRows(transaction, by_name, rows)
    length = scala_object(delta.stats, "StatsCollectionUtils").getDataSkippingStringPrefixLength(
        session, transaction.metadata()
    )
    marked = helper.processUnmodifiedData(session, touched, transaction.snapshot(), length)
    return marked._1(), int(marked._2().apply("numModifiedRows"))  # noqa: SLF001 - a Scala pair


def _note(spark: SparkSession, transaction: Any, changes: RowChanges, files: int) -> None:  # noqa: ANN401
    """Let the table's history tell the numbers, under the names of a MERGE."""
    java, _, _ = java_of(spark)
    numbers = {
        "operationNumSourceRows": changes.inserted + changes.updated + changes.deleted,
        "numTargetRowsInserted": changes.inserted,
        "numTargetRowsUpdated": changes.updated,
        "numTargetRowsDeleted": changes.deleted,
        "numTargetRowsCopied": 0,
        "numTargetFilesAdded": files,
    }
    metric = scala_object(java.org.apache.spark.sql.execution.metric, "SQLMetrics").createMetric
    noted = {}
    for name, number in numbers.items():
        noted[name] = metric(spark._jsparkSession.sparkContext(), name)  # noqa: SLF001
        noted[name].set(number)
    transaction.registerSQLMetrics(spark._jsparkSession, java.PythonUtils.toScalaMap(noted))  # noqa: SLF001


def _operation(spark: SparkSession, within: str) -> Any:  # noqa: ANN401
    java, delta, _ = java_of(spark)
    nothing = java.PythonUtils.toSeq([])
    merge = scala_object(delta, "DeltaOperations$Merge")
    return merge.apply(java.scala.Option.apply(parsed(spark, within)), nothing, nothing, nothing)


def _listed(sequence: Any) -> Iterator[Any]:  # noqa: ANN401
    return (sequence.apply(position) for position in range(sequence.size()))
