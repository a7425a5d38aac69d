"""Archive the classes that a run loads, as the JVM has them in memory: the next JVM need not read and check them again.

`python tools/archive_classes.py` from the project folder, after `tools/fetch_jars.py`. It does a run on a sample day
in a folder that is thrown away. An archive that is newer than the jars and Spark is left as it is; of another Java the
JVM ignores it.
"""

import tempfile
from pathlib import Path
from typing import Any

import pyspark

from sessions_assets.lake.lake import Lake
from sessions_assets.lake.spark import spark_session
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.inspections import inspect
from sessions_assets.pipeline.land import land
from sessions_assets.rule.events import LATENESS_DAYS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.settings import FIRST_SAMPLE_DAY

FOLDER = Path(__file__).resolve().parent.parent / "jars"
ARCHIVE = FOLDER / "classes.jsa"


def main() -> None:
    """Create the archive, unless it is there."""
    jars = (*FOLDER.glob("*.jar"), *FOLDER.glob("delta/*.jar"))
    newest = max(file.stat().st_mtime for file in (*jars, Path(pyspark.__file__)))
    if ARCHIVE.exists() and ARCHIVE.stat().st_mtime >= newest:
        print("archive of classes: there")
        return
    ARCHIVE.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".fetch-") as temporary:
        made = Path(temporary) / ARCHIVE.name
        _run(made, f"{temporary}/lake")
        if made.exists():
            made.rename(ARCHIVE)
    done = "made" if ARCHIVE.exists() else "this Java makes none: all works without, each start takes seconds longer"
    print(f"archive of classes: {done}")


def _run(archive: Path, lake: str) -> None:
    """Land, apply and check a sample day, in a JVM that archives its classes when it ends."""
    options = f'-Duser.timezone=UTC -XX:+UseParallelGC "-XX:ArchiveClassesAtExit={archive}" -Xlog:cds=off'
    spark = spark_session("local[*]", config={"spark.driver.extraJavaOptions": options})
    opened = Lake(lake)
    landing, rule = Landing(str(FOLDER.parent / "batches")), SessionRule()
    land(spark, opened, landing, [FIRST_SAMPLE_DAY], LATENESS_DAYS)
    apply(spark, opened, [FIRST_SAMPLE_DAY], rule)
    inspect(spark, opened, [FIRST_SAMPLE_DAY], rule)
    gateway: Any = spark.sparkContext._gateway  # noqa: SLF001 - to wait for its end, when it writes
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()


if __name__ == "__main__":
    main()
