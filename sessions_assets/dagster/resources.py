"""What is opened with the settings: the Spark session, the lake, the landing, the rule's configuration.

Must not know the rule itself, or partitions.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from dagster_pyspark import LazyPySparkResource
from pydantic import Field

from sessions_assets.lake.lake import ROWS, Lake
from sessions_assets.lake.spark import DRIVER_MEMORY, spark_session
from sessions_assets.landing.batches import Landing
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.settings import Settings
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
            self._spark_session = spark_session(
                self.master, self.driver_memory, uses_s3=self.uses_s3, config=self.spark_config
            )


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
    """Where the Delta tables are, and how changed rows of ods_sessions are committed."""

    commit: str = Field(default=ROWS, description="how changed rows of ods_sessions are committed: rows or merge")

    def open(self) -> Lake:
        """Open the tables; no Spark session is needed.

        Raises:
            StorageError: they lie on S3, and S3 cannot be used.
        """
        root = self.root.rstrip("/") if "://" in self.root else str(Path(self.root).absolute())
        return Lake(root, self._checked(), self.commit)


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
        "lake": LakeResource(
            root=settings.lake, endpoint=storage.endpoint, region=storage.region, commit=settings.commit
        ),
        "landing": LandingResource(root=settings.landing, endpoint=storage.endpoint, region=storage.region),
        "session_rule": SessionRuleResource(
            timeout_microseconds=settings.timeout // timedelta(microseconds=1),
            user_actions=None if settings.user_actions is None else sorted(settings.user_actions),
            lateness_days=settings.lateness_days,
        ),
    }
