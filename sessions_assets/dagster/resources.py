"""The resources: the Spark session, the lake, the landing and the rule, as the settings configure them.

They open what runs use. Must not know partitions, SQL or what a run does.
"""

from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from dagster_pyspark import LazyPySparkResource
from pydantic import Field, PrivateAttr
from pyspark import SparkContext
from pyspark.sql import SparkSession

from sessions_assets.lake.lake import ROWS, Lake
from sessions_assets.lake.settled import Calendar
from sessions_assets.lake.spark import DRIVER_MEMORY, spark_session
from sessions_assets.landing.batches import Landing
from sessions_assets.rule.input_format import TEXT, UTC, InputFormat
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.settings import Settings, utf8_names
from sessions_assets.storage import DEFAULT_REGION, S3_SCHEME, Storage


class SparkResource(LazyPySparkResource):
    """The Spark session, started at its first use and shared by the whole process."""

    spark_config: dict[str, Any] = Field(default_factory=dict, description="additional Spark settings")
    master: str = Field(description="Spark master, such as local[*]")
    driver_memory: str = Field(default=DRIVER_MEMORY, description="memory of the Spark driver")
    uses_s3: bool = Field(default=False, description="whether tables or batches are on S3, which needs more jars")
    _session: SparkSession | None = PrivateAttr(default=None)

    @property
    def ui_address(self) -> str | None:
        """Return the address of Spark's UI, if it serves one."""
        address: str | None = self.spark_context.uiWebUrl
        return address

    @property
    def spark_session(self) -> SparkSession:
        """Return the session; the first call starts it.

        Raises:
            JarsError: the jars of Spark are missing.
        """
        if self._session is None:
            with utf8_names():
                self._session = spark_session(
                    self.master, self.driver_memory, uses_s3=self.uses_s3, config=self.spark_config
                )
        return self._session

    @property
    def spark_context(self) -> SparkContext:
        """Return the context of the session; the first call starts it."""
        return self.spark_session.sparkContext


class StoredResource(ConfigurableResource[Any]):
    """A folder, or a prefix in a bucket. S3 credentials stay in the environment: no resource holds or shows them."""

    root: str = Field(description="a folder or s3://bucket/prefix")
    endpoint: str | None = Field(default=None, description="address of an S3 store other than Amazon's")
    region: str = Field(default=DEFAULT_REGION, description="region of the S3 store")

    @property
    def _storage(self) -> Storage:
        return Storage(self.endpoint, self.region)

    def _checked(self) -> Storage:
        self._storage.check(self.root)
        return self._storage


class LakeResource(StoredResource):
    """The Delta tables below one root, and how changed rows of ods_sessions are committed."""

    commit: str = Field(default=ROWS, description="how changed rows of ods_sessions are committed: rows or merge")

    def open(self) -> Lake:
        """Open the tables; no Spark session is needed.

        Raises:
            StorageError: they are on S3, and S3 cannot be used.
        """
        root = self.root.rstrip("/") if "://" in self.root else str(Path(self.root).absolute())
        return Lake(root, self._checked(), self.commit)


class LandingResource(StoredResource):
    """The folder or bucket prefix in which batches arrive, and how the source delivers events."""

    columns: dict[str, str] = Field(default={}, description="names of delivered columns, by column of an event")
    constants: dict[str, str] = Field(default={}, description="texts that each row has, by column of an event")
    csv_separator: str = Field(default=",", description="between the fields of a CSV file")
    timestamp_unit: str = Field(default=TEXT, description="of timestamps: text, or s, ms, us or ns since 1970")
    time_zone: str = Field(default=UTC, description="IANA name of the zone of times without an offset")

    @property
    def input_format(self) -> InputFormat:
        """Return how the source delivers events."""
        return InputFormat(self.columns, self.constants, self.csv_separator, self.timestamp_unit, self.time_zone)

    def open(self) -> Landing:
        """Open the landing.

        Raises:
            StorageError: it is on S3, and S3 cannot be used.
        """
        return Landing(self.root, self._checked(), self.input_format)


class SessionRuleResource(ConfigurableResource[SessionRule]):
    """The settings of the rule: timeouts, user actions, carried attributes and lateness."""

    timeout_microseconds: int = Field(
        description="session timeout T: actions further apart belong to different sessions"
    )
    timeout_microseconds_by_product: dict[str, int] = Field(
        default={}, description="timeout of the products that have another one than T"
    )
    user_actions: list[str] | None = Field(description="ids of user actions; null: every event is one")
    carried: list[str] = Field(default=[], description="names of attributes that ods_sessions has as columns")
    lateness_days: int = Field(description="lateness N: how many days after its date an event may arrive")
    first_day: str = Field(description="the first arrival day")

    @property
    def calendar(self) -> Calendar:
        """Return which batches are expected."""
        return Calendar(date.fromisoformat(self.first_day), self.lateness_days)

    @property
    def rule(self) -> SessionRule:
        """Return the rule that every session follows."""
        actions = None if self.user_actions is None else frozenset(self.user_actions)
        others = self.timeout_microseconds_by_product.items()
        return SessionRule(
            timedelta(microseconds=self.timeout_microseconds),
            actions,
            {product: timedelta(microseconds=timeout) for product, timeout in others},
            tuple(self.carried),
        )


def build_resources(settings: Settings) -> dict[str, ConfigurableResource[Any]]:
    """Return the resources, by the names under which assets and jobs require them."""
    uses_s3 = settings.lake.startswith(S3_SCHEME) or settings.landing.startswith(S3_SCHEME)
    storage = Storage(settings.s3_endpoint, settings.s3_region)
    return {
        "pyspark": SparkResource(
            master=settings.spark_master,
            driver_memory=settings.driver_memory,
            spark_config=storage.for_spark() if uses_s3 else {},
            uses_s3=uses_s3,
        ),
        "lake": LakeResource(
            root=settings.lake, endpoint=storage.endpoint, region=storage.region, commit=settings.commit
        ),
        "landing": LandingResource(
            root=settings.landing,
            endpoint=storage.endpoint,
            region=storage.region,
            **asdict(settings.input_format),
        ),
        "session_rule": SessionRuleResource(
            timeout_microseconds=settings.timeout // timedelta(microseconds=1),
            timeout_microseconds_by_product={
                product: timeout // timedelta(microseconds=1) for product, timeout in settings.timeouts.items()
            },
            user_actions=None if settings.user_actions is None else sorted(settings.user_actions),
            carried=list(settings.carry),
            lateness_days=settings.lateness_days,
            first_day=settings.first_day.isoformat(),
        ),
    }
