"""What all tests share: one Spark session for the whole run, opened by the project's own resource."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake import Lake
from sessions_assets.resources import SparkResource

# The tests' data is tiny: what they spend is start-up and planning. Compiling each query costs more than it saves: with
# it the whole run takes twice as long. The runs in processes of their own (README, wheel) keep Spark's defaults.
_FOR_TINY_DATA = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    warehouse = {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))}
    session = SparkResource(master="local[2]", spark_config=_FOR_TINY_DATA | warehouse).spark_session
    yield session
    session.stop()


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, str(tmp_path / "lake"))
