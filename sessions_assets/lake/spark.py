"""The Spark session: Delta's settings, the jars, how the JVM starts, shuffle partitions, and tables as it sees them.

Must not know Dagster, the environment, or what the tables are for.
Source of the rules: R10 (times are UTC), R31 (change feed).
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from delta.tables import DeltaTable
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DataType, StructType

from sessions_assets.lake.commits import create_table
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake
from sessions_assets.lake.tables import Table

CHANGE_FEED = {"delta.enableChangeDataFeed": "true"}
"""The table property by which readers get the changed rows of each commit (R31)."""

DRIVER_MEMORY = "2g"
"""Memory of the process that plans a run: Spark's own default of 1 GiB is too small for a day of a million events."""

_NAME = "sessions_assets"
_SPARK_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # R10: times are UTC wherever the machine stands; casts that fail must be asked for with try_.
    "spark.sql.session.timeZone": "UTC",
    "spark.executor.extraJavaOptions": "-Duser.timezone=UTC",
    # To note which line of Python made a column takes several calls to the JVM for each, and only helps to debug.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # The names of files are UTF-8, whatever the locale of a worker.
    "spark.executorEnv.LC_ALL": "C.UTF-8",
    "spark.sql.ansi.enabled": "true",
    # Two columns of a file may differ in the case of their names only.
    "spark.sql.caseSensitive": "true",
    # Spark's default is INT96: slower to read, without bounds in the files, and deprecated by Parquet.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Parquet as pandas writes it counts nanoseconds; without this Spark would refuse the file.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # The types of a row's values are asked for even if an object among them has a name twice.
    "spark.sql.variant.allowDuplicateKeys": "true",
    # The local table of a small day needs no 200 tasks: adaptive execution joins them, but starts with these.
    "spark.sql.shuffle.partitions": "16",
    # A plain UI for a run of seconds costs its start; a cluster has its own.
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # The file list of a table is small; each scan asks for it, and 50 tasks (the default) would be mostly start-up.
    "spark.databricks.delta.snapshotPartitions": "1",
    # A VACUUM that deletes nothing would still make two versions of the table.
    "spark.databricks.delta.vacuum.logging.enabled": "false",
    # It lists with this many tasks, however few files there are: with the default of 10000 for half a minute.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "32",
    # A day needs more than the default of 100 classes, so each day would throw out, and compile, all of them again.
    "spark.sql.codegen.cache.maxEntries": "1000",
    # A compacted file is sorted by key, so that a reader of one user skips most of it.
    "spark.databricks.io.skipping.mdc.sortWithinFiles": "true",
}

# No hidden file of checksums beside each file of a folder: it would refuse a file that another tool replaced, and its
# permissions are set by a process of its own. Hadoop's buffers for S3 need the usual file system.
_FOLDER_SETTINGS = {
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
}

_SHUFFLE_PARTITIONS, _ADAPTIVE = "spark.sql.shuffle.partitions", "spark.sql.adaptive.enabled"
# About 100 MB of events in the memory of a task that sorts them.
_ROWS_PER_TASK = 500_000
# With fewer, a task costs more than it does; and each writes files of its own.
_LEAST_ROWS_PER_TASK = 10_000


class JarsError(Exception):
    """Spark's jars are missing. Names the folders that were searched and the command that fetches them."""


def spark_session(
    master: str,
    driver_memory: str = DRIVER_MEMORY,
    *,
    uses_s3: bool = False,
    config: Mapping[str, str] | None = None,
) -> SparkSession:
    """Return the Spark session of this process: the one that is open, as its first user configured it, or a new one.

    Args:
        master: where Spark runs, such as `local[*]`.
        driver_memory: of the process that plans a run, and does the work if the master is local.
        uses_s3: whether tables or batches are on S3, which needs more jars.
        config: additional Spark settings.

    Raises:
        JarsError: the jars are not there.
    """
    active = SparkSession.getActiveSession()
    if active is not None and active.sparkContext.appName == _NAME:
        return active
    jars = _jars("", "jars") + _jars("delta", "jars")
    for_s3 = _jars("s3", "jars-s3") if uses_s3 else []
    of_jvm = {
        # Must be known before the JVM starts.
        "spark.driver.memory": driver_memory,
        "spark.driver.extraJavaOptions": " ".join(java_options(Path(jars[0]).parent)),
        # Of the driver's own loader, the only one whose classes can come out of an archive.
        "spark.driver.extraClassPath": ":".join(jars),
        "spark.jars": ",".join(jars + for_s3),
    }
    builder = SparkSession.builder.appName(_NAME).master(master)
    of_folders = {} if uses_s3 else _FOLDER_SETTINGS
    for name, value in {**_SPARK_SETTINGS, **of_folders, **of_jvm, **(config or {})}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    logging.getLogger("py4j").setLevel(logging.WARNING)
    return session


def java_options(folder: Path) -> list[str]:
    """Return the options of the JVM: it starts from the class archive that `make setup` leaves beside the jars, if any.

    A JVM that the archive does not fit ignores it. The parallel collector has the best throughput, and a batch run
    does not mind its pauses.
    """
    options = ["-Duser.timezone=UTC", "-XX:+UseParallelGC"]
    archive = folder / "classes.jsa"
    if archive.exists():
        # In quotes: the folder may have a space in its name.
        options += [f'"-XX:SharedArchiveFile={archive}"', "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
    return options


def _jars(kind: str, target: str) -> list[str]:
    folders = (Path.cwd() / "jars" / kind, Path(__file__).parent.parent.parent / "jars" / kind)
    for folder in folders:
        if found := sorted(folder.glob("*.jar")):
            return [str(jar) for jar in found]
    looked = " and ".join(str(folder) for folder in dict.fromkeys(folders))
    raise JarsError(f"no jars in {looked}: run `make {target}`")


@contextmanager
def shuffle_partitions_for(spark: SparkSession, rows: int, *, is_planned_once: bool) -> Iterator[None]:
    """Size shuffles to the batch, in whole rounds of the cores: three tasks on two cores take as long as four.

    Args:
        spark: whose settings change while the context lasts.
        rows: of the batch.
        is_planned_once: for few rows, do not plan the rest of a query again after each part of it; each time Delta
            would list the files again.
    """
    usual = {name: spark.conf.get(name) for name in (_SHUFFLE_PARTITIONS, _ADAPTIVE)}
    cores = spark.sparkContext.defaultParallelism
    rounds = max(round(rows / (_ROWS_PER_TASK * cores)), 1)
    spark.conf.set(_SHUFFLE_PARTITIONS, min(rounds * cores, rows // _LEAST_ROWS_PER_TASK + 1))
    spark.conf.set(_ADAPTIVE, rounds > 1 or not is_planned_once)
    try:
        yield
    finally:
        for name, value in usual.items():
            spark.conf.set(name, value or "")


def computed_once(rows: DataFrame) -> DataFrame:
    """Compute rows now, and keep them as one block of bytes for each task.

    A million rows as objects would keep the garbage collector busy.
    """
    return rows.localCheckpoint(storageLevel=StorageLevel.MEMORY_AND_DISK)


def read(spark: SparkSession, snapshot: Snapshot) -> DataFrame:
    """Read a whole table as the commit of the snapshot left it."""
    return spark.read.format("delta").option("versionAsOf", snapshot.version).load(snapshot.address)


def create(spark: SparkSession, lake: Lake, table: Table, properties: Mapping[str, str] | None = None) -> None:
    """Create an empty table with these properties; one that is there stays as it is."""
    partitions = [table.partition] if table.partition else []
    by_rows = {"delta.enableDeletionVectors": str(table.changes_rows).lower()}
    by_rows |= CHANGE_FEED if table.changes_rows else {}
    create_table(spark, lake.path(table), schema_of(table), partitions, by_rows | dict(properties or {}))


def schema_of(table: Table) -> StructType:
    """Return the schema of a table as Spark has it, with the meaning of each column as its comment."""
    schema = StructType()
    for column in table.columns:
        schema.add(column.name, DataType.fromDDL(column.sql_type), column.nullable, {"comment": column.meaning})
    return schema


def vacuum(spark: SparkSession, snapshot: Snapshot) -> None:
    """Delete the files that no version of the last seven days needs, Delta's own safety check on."""
    DeltaTable.forPath(spark, snapshot.address).vacuum()
