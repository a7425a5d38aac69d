"""The lake that a measured day starts from: all days but the last ones landed and applied, in ranges; not measured.

Usage: python -m benchmarks.history FOLDER [--keep 3] [--in-ranges-of DAYS] [--upkeep]
"""

import argparse
from pathlib import Path

from benchmarks.lakes import LATENESS_DAYS, days_of, land_and_apply, session
from sessions_assets.pipeline.maintain import compact, expire
from sessions_assets_tests.lakes import Lake

# A limit, and no more than one: a month in one run asks for more than the default of a daily run.
_DRIVER_MEMORY = "8g"


def main() -> None:
    """Create FOLDER/history, or run its maintenance."""
    parser = argparse.ArgumentParser(prog="benchmarks.history")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=int, default=3, help="so many days at the end are left for what is measured")
    parser.add_argument("--in-ranges-of", type=int, help="days in one run; default: all of them")
    parser.add_argument("--upkeep", action="store_true", help="expire and compact what is there; nothing is applied")
    arguments = parser.parse_args()
    lake = Lake(session(_DRIVER_MEMORY), str(arguments.folder / "history"))
    if arguments.upkeep:
        expire(lake.spark, lake)
        compact(lake.spark, lake, LATENESS_DAYS)
        return
    days = days_of(arguments.folder)[: -arguments.keep]
    step = arguments.in_ranges_of or len(days)
    for first in range(0, len(days), step):
        land_and_apply(lake, arguments.folder, days[first : first + step])


if __name__ == "__main__":
    main()
