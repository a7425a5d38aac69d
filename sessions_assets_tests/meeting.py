"""How tests make two writers meet: one waits while it computes its rows, until the other has committed."""

import sys
import time
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

_PATIENCE_SECONDS = 120


def wait_for(file: Path) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not file.exists():
        assert time.monotonic() < end, f"{file.name} does not come"
        time.sleep(0.01)


def waiting(rows: DataFrame, column: str, folder: Path) -> DataFrame:
    """Let the task that computes a column of text write the file `computing` into a folder, and wait for `go`.

    It is one task, so that the other writer has a core.
    """

    def wait(value: str | None) -> str | None:
        (folder / "computing").touch()
        wait_for(folder / "go")
        return value

    # Else whatever `python3` there is on the PATH.
    rows.sparkSession.sparkContext.pythonExec = sys.executable
    return rows.coalesce(1).withColumn(column, F.udf(wait, "string", useArrow=False)(column))
