"""What all tests share: one Spark session for the whole run, opened by the project's own resource."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from sessions_assets.lake.spark import spark_session
from sessions_assets_tests.demonstration import Demo, run_demo
from sessions_assets_tests.deployment import Deployment
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.stack import Stack


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=random.SystemRandom().randrange(10**9), help="of the long tests")
    parser.addoption("--screenshots", type=Path, help="folder for the pictures that the browser takes of the UI")
    parser.addoption("--histories", type=int, default=10_000, help="how many the long tests make, in plain Python")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "spark: needs Spark, by its fixtures; the others: `make test-fast`")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what uses the session of Spark, itself or through another fixture."""
    if isinstance(item, pytest.Function) and "spark" in item.fixturenames:
        item.add_marker("spark")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Fail a test that starts a JVM though `make test-fast` takes it for one that does not."""
    uses_spark = any(other.get_closest_marker("spark") for other in item.session.items)
    if not uses_spark and SparkContext._gateway is not None:  # noqa: SLF001 - nothing public tells
        pytest.fail(f"{item.nodeid} starts a JVM without the fixture `spark`")


def pytest_report_header(config: pytest.Config) -> str:
    return f"long tests: make test-long SEED={config.getoption('--seed')} HISTORIES={config.getoption('--histories')}"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run: the report says how to repeat it."""
    return int(request.config.getoption("--seed"))


@pytest.fixture
def number_of_histories(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--histories"))


# The tests' data is tiny: what they spend is start-up and planning. Compiling each query costs more than it saves: with
# it the whole run takes twice as long. The runs in processes of their own (README, wheel) keep Spark's defaults.
_FOR_TINY_DATA = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # The counts of test_costs.py are read from what Spark keeps of its newest jobs and stages: 1,000 by default.
    "spark.ui.retainedJobs": "100000",
    "spark.ui.retainedStages": "100000",
    # A VACUUM would list a folder of a few files with 32 tasks.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    # Of the plans of files with thousands of columns only a few.
    "spark.sql.ui.retainedExecutions": "20",
    # The threads of the default collector would take the second core from the compiler. With a small young generation
    # what a query leaves behind is moved to the old one, which then has to be collected for a second each time.
    "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -XX:+UseSerialGC -Xms4g -Xmn2500m",
}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    warehouse = {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))}
    session = spark_session("local[2]", "4g", config=_FOR_TINY_DATA | warehouse)
    yield session
    session.stop()


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def demo_run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`make demo` in a folder of its own, with the Spark session of the tests."""
    assert spark
    return run_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def sample(demo_run: Demo, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The sample days in the lake and the records of the demo, copied; who changes something works on another copy."""
    folder = tmp_path_factory.mktemp("sample") / "demo"
    shutil.copytree(demo_run.folder, folder)
    with dg.DagsterInstance.from_config(str(folder / ".dagster_home")) as instance:
        yield Deployment(spark, folder / "lake", instance=instance)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Code server, web server and daemon, shared by all tests of the stack."""
    with Stack(tmp_path_factory.mktemp("stack")).running() as running:
        yield running
