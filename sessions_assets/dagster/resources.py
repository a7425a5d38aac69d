"""What is opened with the settings: the Spark session, the lake, the landing, the rule's configuration.

Must not know the rule itself, or partitions.
"""

import logging
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from dagster_pyspark import LazyPySparkResource
from pydantic import Field
from pyspark.sql import SparkSession

from sessions_assets.lake.delta_table import StoredTable
from sessions_assets.lake.lake import Lake
from sessions_assets.lake.ledger import Ledger
from sessions_assets.lake.tables import DELIVERIES, Table
from sessions_assets.landing.batches import Landing
from sessions_assets.rule.events import ARRIVAL_DAY
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.settings import DRIVER_MEMORY, Settings, SettingsError
from sessions_assets.storage import DEFAULT_REGION, S3_SCHEME, Storage


class SparkResource(LazyPySparkResource):
    """The Spark session, started when first used and shared by the whole process."""

    spark_config: dict[str, Any] = Field(default_factory=dict, description="additional Spark settings")
    master: str = Field(description="where Spark runs, such as local[*]")
    driver_memory: str = Field(default=DRIVER_MEMORY, description="memory of the process that plans a run")
    uses_s3: bool = Field(default=False, description="whether tables or batches lie on S3, which needs more jars")

    @property
    def ui_address(self) -> str | None:
        """Give the address of Spark's own pages, if it serves them."""
        address: str | None = self.spark_session.sparkContext.uiWebUrl
        return address

    def _init_session(self) -> None:
        if self._spark_session is None:
            # One session for the process: the first one decides. Asked again, Spark would change its settings.
            self._spark_session = _open_session()
        if self._spark_session is None:
            jars = _jars("", "jars")
            for_s3 = _jars("s3", "jars-s3") if self.uses_s3 else []
            of_jvm = {
                # Must be known before the JVM starts.
                "spark.driver.memory": self.driver_memory,
                "spark.driver.extraJavaOptions": " ".join(java_options(Path(jars[0]).parent)),
                # Of the driver's own loader, the only one whose classes can come out of an archive.
                "spark.driver.extraClassPath": ":".join(jars),
                "spark.jars": ",".join(jars + for_s3),
            }
            settings = {**_SPARK_SETTINGS, **of_jvm, **self.spark_config}
            builder = SparkSession.builder.appName(_NAME).master(self.master)
            for name, value in settings.items():
                builder = builder.config(name, value)
            self._spark_session = builder.getOrCreate()
            logging.getLogger("py4j").setLevel(logging.WARNING)


def _open_session() -> SparkSession | None:
    active = SparkSession.getActiveSession()
    return active if active is not None and active.sparkContext.appName == _NAME else None


_NAME = "sessions_assets"
_SPARK_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # S10: times are UTC wherever the machine stands; casts that fail must be asked for with try_.
    "spark.sql.session.timeZone": "UTC",
    "spark.executor.extraJavaOptions": "-Duser.timezone=UTC",
    "spark.sql.ansi.enabled": "true",
    # Spark's default is INT96: slower to read, without bounds in the files, and deprecated by Parquet.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Parquet as pandas writes it counts nanoseconds; without this Spark would refuse the file.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
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


def java_options(folder: Path) -> list[str]:
    """Say how the JVM starts: from the classes that `make setup` has archived beside the jars, if it has.

    A JVM that they do not fit loads its own. Parallel: a run is a batch, so all of its time counts, and no pause does.
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
    raise SettingsError(f"no jars in {looked}: run `make {target}`")


class StoredResource(ConfigurableResource[Any]):
    """Something in a folder or on S3. The keys of S3 stay in the environment: nothing here holds or shows them."""

    root: str = Field(description="a folder or s3://bucket/prefix")
    endpoint: str | None = Field(default=None, description="of an S3 store that is not Amazon's")
    region: str = Field(default=DEFAULT_REGION, description="of the S3 store")

    @property
    def _storage(self) -> Storage:
        return Storage(self.endpoint, self.region)

    def _checked(self) -> Storage:
        self._storage.check(self.root)
        return self._storage


class LakeResource(StoredResource):
    """Where the Delta tables lie."""

    def open(self, spark: SparkResource) -> Lake:
        """Open the tables with the Spark session, which is started if S3 answers.

        Raises:
            StorageError: they lie on S3, and S3 cannot be used.
        """
        storage = self._checked()
        return Lake(spark.spark_session, self._address(), storage)

    def ledger(self) -> Ledger:
        """Open the ledger alone, for which no Spark session is needed.

        Raises:
            StorageError: it lies on S3, and S3 cannot be used.
        """
        return Ledger(self._stored(DELIVERIES, self._checked()))

    def count_rows(self, table: Table, day: date) -> int:
        """Count the rows of an arrival day from what the table knows of its files, without a Spark session."""
        return self._stored(table, self._storage).count_rows(ARRIVAL_DAY, [day])[day]

    def _stored(self, table: Table, storage: Storage) -> StoredTable:
        address = self._address()
        return StoredTable(f"{address}/{table.name}", storage.for_delta(address))

    def _address(self) -> str:
        return self.root.rstrip("/") if "://" in self.root else str(Path(self.root).absolute())


class LandingResource(StoredResource):
    """Where the batches arrive."""

    def open(self) -> Landing:
        """Open the landing.

        Raises:
            StorageError: it lies on S3, and S3 cannot be used.
        """
        return Landing(self.root, self._checked())


class SessionRuleResource(ConfigurableResource[SessionRule]):
    """The configuration of the rule: what a session is, and how late an event may be."""

    timeout_microseconds: int = Field(description="T: actions further apart belong to different sessions")
    user_actions: list[str] | None = Field(description="ids of user actions; null: every event is one")
    lateness_days: int = Field(description="N: how many days after its date an event may arrive")

    @property
    def rule(self) -> SessionRule:
        """Give the rule that every session follows."""
        actions = None if self.user_actions is None else frozenset(self.user_actions)
        return SessionRule(timedelta(microseconds=self.timeout_microseconds), actions)


def build_resources(settings: Settings) -> dict[str, ConfigurableResource[Any]]:
    """Make the resources that the assets ask for by name."""
    uses_s3 = settings.lake.startswith(S3_SCHEME) or settings.landing.startswith(S3_SCHEME)
    storage = Storage(settings.s3_endpoint, settings.s3_region)
    return {
        "pyspark": SparkResource(
            master=settings.spark_master,
            driver_memory=settings.driver_memory,
            spark_config=storage.for_spark() if uses_s3 else {},
            uses_s3=uses_s3,
        ),
        "lake": LakeResource(root=settings.lake, endpoint=storage.endpoint, region=storage.region),
        "landing": LandingResource(root=settings.landing, endpoint=storage.endpoint, region=storage.region),
        "session_rule": SessionRuleResource(
            timeout_microseconds=settings.timeout // timedelta(microseconds=1),
            user_actions=None if settings.user_actions is None else sorted(settings.user_actions),
            lateness_days=settings.lateness_days,
        ),
    }
