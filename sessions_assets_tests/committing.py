"""A driver that commits to one table on S3 again and again.

Usage: python -m sessions_assets_tests.committing TABLE PART COMMITS FOLDER [NAME=VALUE ...]

It writes `ready PART` into the folder, with the address of its Spark pages, and begins when there is `go`. The rest are
settings of Spark.
"""

import os
import sys
import time
from pathlib import Path

from sessions_assets.lake.spark import spark_session
from sessions_assets.storage import Storage

# Of a commit of one row nearly all is planning; compiling each query would cost more than it saves.
_FOR_TINY_DATA = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


def main(table: str, part: str, commits: str, folder: str, *more: str) -> None:
    """Append one row in each commit."""
    settings = Storage(os.environ["AWS_ENDPOINT_URL"]).for_spark() | _FOR_TINY_DATA
    settings |= dict(setting.split("=", 1) for setting in more)
    spark = spark_session("local[1]", "1g", uses_s3=True, config={**settings, "spark.ui.enabled": "true"})
    (Path(folder) / f"ready {part}").write_text(str(spark.sparkContext.uiWebUrl))
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)
    for number in range(int(commits)):
        row = spark.sql(f"SELECT '{part}' AS part, {number} AS number")
        row.write.format("delta").mode("append").save(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
