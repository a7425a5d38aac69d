"""The settings and what is opened with them: the Spark session, the lake, the landing, the rule's configuration.

The only room that reads the environment, in `Settings.from_environment`. Must not know the rule itself, or
partitions.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from dagster_pyspark import LazyPySparkResource
from pydantic import Field
from pyspark.sql import SparkSession

from sessions_assets import snapshots
from sessions_assets.events import ARRIVAL_DAY, LATENESS_DAYS
from sessions_assets.lake import Lake
from sessions_assets.landing import Landing
from sessions_assets.ledger import Ledger
from sessions_assets.sessions import SESSION_TIMEOUT, USER_ACTIONS, SessionRule
from sessions_assets.tables import DELIVERIES, Table

FIRST_SAMPLE_DAY = date(2025, 3, 10)


class SettingsError(ValueError):
    """An environment variable holds what it may not. Names the variable, its value and what was expected."""


@dataclass(frozen=True)
class Settings:
    """What the environment decides; the defaults work in a fresh clone.

    Attributes:
        landing: SESSIONS_LANDING, folder or address of the batches.
        lake: SESSIONS_LAKE, folder or address of the Delta tables.
        first_day: SESSIONS_FIRST_DAY, first arrival day.
        timeout: SESSIONS_TIMEOUT_SECONDS, T.
        user_actions: SESSIONS_USER_ACTIONS, ids with commas between; None for `*`, every event.
        lateness_days: SESSIONS_LATENESS_DAYS, N.
        spark_master: SPARK_MASTER.
    """

    landing: str = "batches"
    lake: str = "lake"
    first_day: date = FIRST_SAMPLE_DAY
    timeout: timedelta = SESSION_TIMEOUT
    user_actions: frozenset[str] | None = USER_ACTIONS
    lateness_days: int = LATENESS_DAYS
    spark_master: str = "local[*]"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings; a variable that is not set, or empty, has its default.

        Raises:
            SettingsError: a value that does not parse.
        """
        parsers: dict[str, tuple[str, Callable[[str], Any]]] = {
            "landing": ("SESSIONS_LANDING", str),
            "lake": ("SESSIONS_LAKE", str),
            "first_day": ("SESSIONS_FIRST_DAY", _day),
            "timeout": ("SESSIONS_TIMEOUT_SECONDS", _seconds),
            "user_actions": ("SESSIONS_USER_ACTIONS", _actions),
            "lateness_days": ("SESSIONS_LATENESS_DAYS", _whole_days),
            "spark_master": ("SPARK_MASTER", str),
        }
        values: dict[str, Any] = {}
        for name, (variable, parse) in parsers.items():
            if text := environment.get(variable, "").strip():
                try:
                    values[name] = parse(text)
                except ValueError as error:
                    raise SettingsError(f"{variable}={text!r}: expected {error}") from error
        return cls(**values)


_LONGEST_TIMEOUT = 365 * 24 * 3600 * 1_000_000


def _day(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError("a day such as 2025-03-10")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("a day such as 2025-03-10") from error


def _seconds(text: str) -> timedelta:
    expected = "seconds such as 300 or 299.999999: positive, at most 6 decimals, at most a year"
    try:
        microseconds = Decimal(text) * 1_000_000
    except InvalidOperation as error:
        raise ValueError(expected) from error
    if microseconds.is_nan():
        raise ValueError(expected)
    if not 0 < microseconds <= _LONGEST_TIMEOUT or microseconds != int(microseconds):
        raise ValueError(expected)
    return timedelta(microseconds=int(microseconds))


def _actions(text: str) -> frozenset[str] | None:
    actions = frozenset(action.strip() for action in text.split(","))
    if "" in actions or ("*" in actions and len(actions) > 1):
        raise ValueError("action ids with commas between, or * alone for every event")
    return None if actions == {"*"} else actions


def _whole_days(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text):
        raise ValueError("a whole number of days such as 5")
    return int(text)


class SparkResource(LazyPySparkResource):
    """The Spark session, started when first used and shared by the whole process."""

    spark_config: dict[str, Any] = Field(default_factory=dict, description="additional Spark settings")
    master: str = Field(description="where Spark runs, such as local[*]")

    def _init_session(self) -> None:
        if self._spark_session is None:
            settings = {**_SPARK_SETTINGS, "spark.jars": _jars(), **self.spark_config}
            builder = SparkSession.builder.appName("sessions_assets").master(self.master)
            for name, value in settings.items():
                builder = builder.config(name, value)
            self._spark_session = builder.getOrCreate()
            logging.getLogger("py4j").setLevel(logging.WARNING)


_SPARK_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # S10: times are UTC wherever the machine stands; casts that fail must be asked for with try_.
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.extraJavaOptions": "-Duser.timezone=UTC",
    "spark.executor.extraJavaOptions": "-Duser.timezone=UTC",
    "spark.sql.ansi.enabled": "true",
    # Parquet as pandas writes it counts nanoseconds; without this Spark would refuse the file.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Must be known before the JVM starts; the default of 1 GiB is too small for a day of a million events.
    "spark.driver.memory": "2g",
    # The local table of a small day needs no 200 tasks: adaptive execution joins them, but starts with these.
    "spark.sql.shuffle.partitions": "16",
    # A plain UI for a run of seconds costs its start; a cluster has its own.
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # The changed rows are computed and fixed before MERGE reads them twice; it need not copy them once more.
    "spark.databricks.delta.merge.materializeSource": "none",
    # The file list of a table is small; each scan asks for it, and 50 tasks (the default) would be mostly start-up.
    "spark.databricks.delta.snapshotPartitions": "1",
    # A VACUUM that deletes nothing would still make two versions of the table.
    "spark.databricks.delta.vacuum.logging.enabled": "false",
    # It lists with this many tasks, however few files there are: with the default of 10000 for half a minute.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "32",
    # A compacted file is sorted by key, so that a reader of one user skips most of it.
    "spark.databricks.io.skipping.mdc.sortWithinFiles": "true",
}


def _jars() -> str:
    folders = (Path.cwd() / "jars", Path(__file__).parent.parent / "jars")
    for folder in folders:
        if found := sorted(folder.glob("*.jar")):
            return ",".join(str(jar) for jar in found)
    looked = " and ".join(str(folder) for folder in dict.fromkeys(folders))
    raise SettingsError(f"no Delta jars in {looked}: run `make jars`")


class LakeResource(ConfigurableResource[Lake]):
    """Where the Delta tables lie."""

    root: str = Field(description="a folder")

    def open(self, spark: SparkSession) -> Lake:
        """Open the tables with a Spark session."""
        return Lake(spark, self._address())

    def ledger(self) -> Ledger:
        """Open the ledger alone, for which no Spark session is needed."""
        return Ledger(f"{self._address()}/{DELIVERIES.name}")

    def count_rows(self, table: Table, day: date) -> int:
        """Count the rows of an arrival day from what the table knows of its files, without a Spark session."""
        return snapshots.count_rows(f"{self._address()}/{table.name}", ARRIVAL_DAY, [day])[day]

    def _address(self) -> str:
        return self.root if "://" in self.root else str(Path(self.root).absolute())


class LandingResource(ConfigurableResource[Landing]):
    """Where the batches arrive."""

    root: str = Field(description="a folder")

    def open(self) -> Landing:
        """Open the landing."""
        return Landing(self.root)


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
    return {
        "pyspark": SparkResource(master=settings.spark_master),
        "lake": LakeResource(root=settings.lake),
        "landing": LandingResource(root=settings.landing),
        "session_rule": SessionRuleResource(
            timeout_microseconds=settings.timeout // timedelta(microseconds=1),
            user_actions=None if settings.user_actions is None else sorted(settings.user_actions),
            lateness_days=settings.lateness_days,
        ),
    }
