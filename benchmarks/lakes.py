"""What every measurement uses: the Spark session of the project (`lake.spark`), a lake in a folder, and its daily work.

FOLDER holds `landing`, the batches; `history`, a lake to start from, if the work has one; and what the work makes.
"""

import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.events import Shape, write_batches
from sessions_assets.lake.spark import DRIVER_MEMORY, spark_session
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.lakes import Lake

LATENESS_DAYS = 5
RULE = SessionRule()


def session(driver_memory: str = DRIVER_MEMORY) -> SparkSession:
    """Start the session that a run on this machine has."""
    return spark_session("local[*]", driver_memory)


def days_of(folder: Path) -> list[date]:
    """Return the days with a batch."""
    return sorted(date.fromisoformat(path.stem) for path in (folder / "landing").glob("*.parquet"))


def land_and_apply(lake: Lake, folder: Path, days: Sequence[date], lateness_days: int = LATENESS_DAYS) -> None:
    """Do the work of these days in one run."""
    land(lake.spark, lake, Landing(str(folder / "landing")), days, lateness_days)
    apply(lake.spark, lake, days, RULE)


def warm_up(spark: SparkSession) -> None:
    """Do three small days in a lake that is thrown away: classes are loaded then, and the hottest code compiled."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_batches(folder / "landing", Shape(days=3, events_per_day=1000, users=50), seed=0)
        lake = Lake(spark, str(folder / "lake"))
        for day in days_of(folder):
            land_and_apply(lake, folder, [day])
