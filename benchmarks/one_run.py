"""One run over the days of a folder, land and apply, measured: the fresh process of most goals.

Usage: python -m benchmarks.one_run FOLDER [--last DAYS] [--lateness 5] [--driver-memory 2g] [--warm]

FOLDER holds `landing`, and perhaps `history`, of which FOLDER/lake begins as a copy. Prints one line of JSON.
"""

import argparse
import shutil
from pathlib import Path

from benchmarks.lakes import LATENESS_DAYS, days_of, land_and_apply, session, warm_up
from benchmarks.rivals import measured_lake
from sessions_assets.lake.spark import DRIVER_MEMORY
from sessions_assets_tests.lakes import Lake


def main() -> None:
    """Measure the run."""
    arguments = _arguments()
    history, lake_folder = arguments.folder / "history", arguments.folder / "lake"
    if lake_folder.is_dir():
        shutil.rmtree(lake_folder)
    if history.is_dir():
        shutil.copytree(history, lake_folder)
    spark = session(arguments.driver_memory)
    if arguments.warm:
        warm_up(spark)
    lake, days = Lake(spark, str(lake_folder)), days_of(arguments.folder)[-arguments.last :]
    found = measured_lake(lake, lambda: land_and_apply(lake, arguments.folder, days, arguments.lateness))
    print(found.as_json(), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.one_run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--last", type=int, default=0, help="only so many days, the last ones; 0: all")
    parser.add_argument("--lateness", type=int, default=LATENESS_DAYS)
    parser.add_argument("--driver-memory", default=DRIVER_MEMORY)
    parser.add_argument("--warm", action="store_true", help="do a small other lake first")
    return parser.parse_args()


if __name__ == "__main__":
    main()
