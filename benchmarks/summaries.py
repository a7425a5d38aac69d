"""One more day of the table sessions beside the day itself, and all summaries anew beside a plain aggregate.

Usage: python -m benchmarks.summaries FOLDER

FOLDER holds `landing`, and `history`: our lake with all days but the last three applied; two of these warm up. Prints
one line of JSON.
"""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

from benchmarks.deltas import feed_sizes
from benchmarks.lakes import RULE, days_of, land_and_apply, session
from benchmarks.meters import Measured, measured_on
from sessions_assets.lake.tables import ODS_SESSIONS, SESSIONS
from sessions_assets.pipeline.summarize import summarize
from sessions_assets.rule.summaries import summaries
from sessions_assets_tests.lakes import Lake

DAY, DAY_OF_SESSIONS = "one day", "one day of sessions"
ANEW, AGGREGATE = "all sessions anew", "plain aggregate"


def main(name: str) -> None:
    """Measure both."""
    folder = Path(name)
    shutil.copytree(folder / "history", folder / "lake")
    lake = Lake(session(), str(folder / "lake"))
    found: dict[str, Measured] = {}
    for day in days_of(folder)[-3:]:
        found[DAY] = measured_on(lake.spark, partial(land_and_apply, lake, folder, [day]))
        found[DAY_OF_SESSIONS] = measured_on(lake.spark, partial(summarize, lake.spark, lake, RULE))
    feed = sum(size for table in (ODS_SESSIONS, SESSIONS) for size in feed_sizes(Path(lake.path(table))))
    shutil.rmtree(lake.path(SESSIONS))
    found[ANEW] = measured_on(lake.spark, partial(summarize, lake.spark, lake, RULE))
    found[AGGREGATE] = measured_on(lake.spark, partial(_aggregate, lake, folder / "aggregate"))
    counted = {
        f"{name}, {what}": one.counted[what] for name, one in found.items() for what in ("spark jobs", "rows read")
    }
    walls = {name: one.wall for name, one in found.items()}
    print(json.dumps({**walls, **counted, "MB of the change feed": feed / 1e6}), flush=True)


def _aggregate(lake: Lake, to: Path) -> None:
    """Do what anybody would: one aggregate of all rows, written as Parquet."""
    summaries(lake.read(ODS_SESSIONS)).write.parquet(str(to))


if __name__ == "__main__":
    main(*sys.argv[1:])
