"""raw_events and raw_quarantine: read and replaced by whole arrival days, each write one commit and safe to repeat.

Must not know Dagster, the environment, batch files or the rule.
Source of the rules: R17 (a raw day is replaced), R21 (days expire).
"""

from collections.abc import Collection
from datetime import date

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.commits import CONFLICTS
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake, LakeError, literals
from sessions_assets.lake.spark import read
from sessions_assets.lake.tables import Table
from sessions_assets.rule.events import ARRIVAL_DAY


def read_days(spark: SparkSession, snapshot: Snapshot, days: Collection[date]) -> DataFrame:
    """Read the rows of arrival days."""
    return read(spark, snapshot).where(F.col(ARRIVAL_DAY).isin(*days))


def append_rows(lake: Lake, table: Table, rows: DataFrame) -> None:
    """Add rows of arrival days that the table does not hold, in one commit; that costs half the jobs of a replacement.

    Another run may add the same day at the same time. Whoever counts the rows of the day then finds too many, and a
    replacement of the day mends it.
    """
    rows.select(*[column.name for column in table.columns]).write.format("delta").mode("append").save(lake.path(table))


def replace_days(lake: Lake, table: Table, days: Collection[date], rows: DataFrame) -> None:
    """Replace whole arrival days by these rows, in one commit (R17).

    Raises:
        LakeError: another run replaces one of these days at the same time.
    """
    columns = [column.name for column in table.columns]
    writer = rows.select(*columns).write.format("delta").mode("overwrite")
    try:
        writer.option("replaceWhere", f"{ARRIVAL_DAY} IN ({literals(days)})").save(lake.path(table))
    except CONFLICTS as error:
        raise LakeError(f"another run replaces {', '.join(map(str, days))} in {lake.path(table)}") from error


def delete_days(spark: SparkSession, snapshot: Snapshot, days: Collection[date]) -> None:
    """Delete whole arrival days, in one commit; none if there is no day."""
    if days:
        DeltaTable.forPath(spark, snapshot.address).delete(f"{ARRIVAL_DAY} IN ({literals(days)})")
