"""The lake that every rival starts from: all days but the last three landed and applied, in one run.

Usage: python -m benchmarks.history FOLDER
"""

import sys
from pathlib import Path

from benchmarks.rivals import LATENESS_DAYS, RULE, days_of
from sessions_assets.applications import apply
from sessions_assets.deliveries import land
from sessions_assets.lake import Lake
from sessions_assets.landing import Landing
from sessions_assets.resources import SparkResource


def main(folder: str) -> None:
    """Land and apply."""
    landing = Path(folder) / "landing"
    days = days_of(Path(folder))[:-3]
    lake = Lake(SparkResource(master="local[*]").spark_session, f"{folder}/history")
    land(lake, Landing(str(landing)), days, LATENESS_DAYS)
    apply(lake, days, RULE)


if __name__ == "__main__":
    main(*sys.argv[1:])
