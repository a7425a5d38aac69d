"""Ways to the same table: ours, and what a user would pick instead. Each does the daily work on the same batches.

Usage: python -m benchmarks.rivals NAME FOLDER

FOLDER holds `landing`, and `history`: our lake with all days but the last three applied. The two days before the last
one warm up what needs it. Prints one line of JSON; the table stays in FOLDER/results/NAME.
"""

import shutil
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

from benchmarks.deltas import counted_by_delta, file_sizes, version
from benchmarks.fixed_window import merge_window
from benchmarks.lakes import LATENESS_DAYS, days_of, land_and_apply, session
from benchmarks.meters import Measured, measured_on
from benchmarks.recomputes import by_duckdb, by_polars, by_spark
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.land import land
from sessions_assets_tests.lakes import Lake

OURS, AGAIN, FIXED_WINDOW, DUCKDB = "ours", "ours, once more", "fixed window", "DuckDB, all anew"


def by_ours(folder: Path, output: Path) -> Measured:
    """Land and apply the last day, in a session that has done two days before."""
    lake = _from_history(folder, output)
    return _last_day(lake, folder, lambda day: land_and_apply(lake, folder, [day]))


def by_ours_again(folder: Path, output: Path) -> Measured:
    """Land and apply a day that is applied already."""
    by_ours(folder, output)
    lake = Lake(session(), str(output))
    return measured_lake(lake, lambda: land_and_apply(lake, folder, days_of(folder)[-1:]))


def by_fixed_window(folder: Path, output: Path) -> Measured:
    """Land the last day, and recompute and MERGE the whole window."""
    lake = _from_history(folder, output)
    # Such a job knows no deletion vectors: files with a changed row are written again.
    off = "SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')"
    lake.spark.sql(f"ALTER TABLE delta.`{lake.path(ODS_SESSIONS)}` {off}")

    def one(day: date) -> None:
        land(lake.spark, lake, Landing(str(folder / "landing")), [day], LATENESS_DAYS)
        merge_window(lake, day)

    return _last_day(lake, folder, one)


def _from_history(folder: Path, output: Path) -> Lake:
    shutil.copytree(folder / "history", output)
    return Lake(session(), str(output))


def _last_day(lake: Lake, folder: Path, one: Callable[[date], None]) -> Measured:
    """Do the two days before the last one to warm up, then measure the last one."""
    *warm_up, last = days_of(folder)[-3:]
    for day in warm_up:
        one(day)
    return measured_lake(lake, lambda: one(last))


def measured_lake(lake: Lake, work: Callable[[], None]) -> Measured:
    """Measure some work on a lake, with what it did to ods_sessions."""
    table = Path(lake.path(ODS_SESSIONS))
    read_version = version(table)
    found = measured_on(lake.spark, work)
    found.counted |= counted_by_delta(table, read_version)
    found.counted["MB of raw_events"] = sum(file_sizes(Path(lake.path(RAW_EVENTS)))) / 1e6
    found.read_version = read_version
    return found


RIVALS: dict[str, Callable[[Path, Path], Measured]] = {
    OURS: by_ours,
    AGAIN: by_ours_again,
    FIXED_WINDOW: by_fixed_window,
    "Spark, all anew": by_spark,
    DUCKDB: by_duckdb,
    "Polars, all anew": by_polars,
}


def main(name: str, folder: str) -> None:
    """Measure one rival, from the start that all have."""
    output = Path(folder) / "results" / name
    if output.is_dir():
        shutil.rmtree(output)
    output.parent.mkdir(exist_ok=True)
    print(RIVALS[name](Path(folder), output).as_json(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
