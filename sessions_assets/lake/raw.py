"""raw_events and raw_quarantine: read and replaced by whole arrival days, each write one commit and safe to repeat.

Must not know Dagster, the environment, batch files or how a session is computed.
Source of the rules: R17 (a raw day is replaced), R21 (days expire).
"""

from collections.abc import Collection, Sequence
from datetime import date

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.commits import CONFLICTS
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake, LakeError, literals
from sessions_assets.lake.spark import read
from sessions_assets.lake.tables import Table
from sessions_assets.rule.carried import of_attributes
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS


def read_events(spark: SparkSession, snapshot: Snapshot, days: Collection[date], names: Sequence[str]) -> DataFrame:
    """Read the events of arrival days: the four columns of an event, `_updated_at`, and `carried` of these names."""
    return as_events(read_days(spark, snapshot, days), names)


def as_events(rows: DataFrame, names: Sequence[str]) -> DataFrame:
    """Return of raw rows what applying needs: the columns of `read_events`."""
    return rows.select(*IDENTITY_COLUMNS, ARRIVAL_DAY, of_attributes(names, rows.columns))


def read_days(spark: SparkSession, snapshot: Snapshot, days: Collection[date]) -> DataFrame:
    """Read the rows of arrival days, whole."""
    return read(spark, snapshot).where(F.col(ARRIVAL_DAY).isin(*days))


def append_rows(lake: Lake, table: Table, rows: DataFrame) -> None:
    """Add rows of arrival days that the table does not hold, in one commit; that costs half the jobs of a replacement.

    Nothing is compared before: if another run adds the same day at the same time, the table holds its rows twice until
    the day is replaced. The landing counts the rows afterwards, and applying refuses a day whose count differs.
    """
    _writer(table, rows).mode("append").save(lake.path(table))


def replace_days(lake: Lake, table: Table, days: Collection[date], rows: DataFrame) -> None:
    """Replace whole arrival days by these rows, in one commit (R17).

    Raises:
        LakeError: another run replaces one of these days at the same time.
    """
    writer = _writer(table, rows).mode("overwrite")
    try:
        writer.option("replaceWhere", f"{ARRIVAL_DAY} IN ({literals(days)})").save(lake.path(table))
    except CONFLICTS as error:
        listed = ", ".join(map(str, days))
        raise LakeError(f"another run replaces {listed} in {lake.path(table)}: materialize raw_events again") from error


def _writer(table: Table, rows: DataFrame) -> DataFrameWriter:
    """Return a writer of rows; columns that a table of an earlier edition lacks are added with them."""
    columns = [F.col(c.name).alias(c.name, metadata={"comment": c.meaning}) for c in table.columns]
    return rows.select(*columns).write.format("delta").option("mergeSchema", "true")


def delete_days(spark: SparkSession, snapshot: Snapshot, days: Collection[date]) -> None:
    """Delete whole arrival days, in one commit; none if there is no day."""
    if days:
        DeltaTable.forPath(spark, snapshot.address).delete(f"{ARRIVAL_DAY} IN ({literals(days)})")
