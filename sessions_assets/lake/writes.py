"""Writes of changed rows into a table that one run at a time writes: the way to commit, and refusals.

Must not know which table it is, which rows changed, or why.
Source of the rules: R16 (one commit), R19 (no needless write).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from sessions_assets.lake import commits
from sessions_assets.lake.commits import Committed, OvertakenError, RowChanges, WrongChangesError
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import MERGE, LakeError
from sessions_assets.lake.spark import shuffle_partitions_for


def commit_changes(
    spark: SparkSession, snapshot: Snapshot, changes: RowChanges, way: str, notes: Mapping[str, Any]
) -> Committed:
    """Write changed rows, computed from this snapshot, in one commit, in one of `WAYS_TO_COMMIT`.

    Raises:
        LakeError: another run has written since, or the rows are not as many as were counted.
    """
    with _one_writer():
        if way == MERGE:
            return commits.commit_merge(spark, snapshot.address, snapshot.version, changes, notes)
        # Its one shuffle is of the changed rows alone; a MERGE shuffles the rows of all files that may hold one.
        with shuffle_partitions_for(spark, changes.number, is_planned_once=True):
            return commits.commit_rows(spark, snapshot.address, snapshot.version, changes, notes)


def replace_all(
    spark: SparkSession, snapshot: Snapshot, rows: DataFrame, properties: Mapping[str, str], notes: Mapping[str, Any]
) -> Committed:
    """Replace all rows, computed from this snapshot, and set properties, in one commit.

    Raises:
        LakeError: another run has written since.
    """
    with _one_writer():
        return commits.replace_all(spark, snapshot.address, snapshot.version, rows, properties, notes)


def alter(spark: SparkSession, snapshot: Snapshot, columns: Mapping[str, str], properties: Mapping[str, str]) -> int:
    """Add nullable columns of text, by name and meaning, and set properties; return the version after that.

    Raises:
        LakeError: another run has written since.
    """
    with _one_writer():
        return commits.alter(spark, snapshot.address, snapshot.version, columns, properties)


@contextmanager
def _one_writer() -> Iterator[None]:
    """Refuse what another run has overtaken, and rows that are not those that were counted."""
    try:
        yield
    except OvertakenError as error:
        raise LakeError(f"{error}: materialize the days of this run again, one run at a time") from error
    except WrongChangesError as error:
        raise LakeError(str(error)) from error
