"""A process that kills itself, its JVM with it, at a chosen moment of a run: what the tests of crashes start.

Usage: python -m sessions_assets_tests.crashing FOLDER COMMAND MOMENT

COMMAND is a name of `COMMANDS`. MOMENT is `before CALL [N]` or `after CALL [N]`, the N-th call of a method such as
`Ledger.begin` or of a function such as `writes.commit_changes`, or `inside TABLE`: a new file of the table is there,
and no commit knows it yet.
"""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sessions_assets.lake import ods, raw, sessions, writes
from sessions_assets.lake.ledger import Ledger
from sessions_assets.lake.spark import spark_session
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.summarize import summarize
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import day

DAYS = [day(0), day(2)]
RULE = SessionRule()
OTHER_RULE = SessionRule(timeout=timedelta(seconds=60))
RETENTION = timedelta(days=1)


def land_and_apply_a_new_day(folder: Path, lake: Lake) -> None:
    """Take a batch of a day that raw_events does not hold."""
    land(lake.spark, lake, Landing(str(folder / "landing")), DAYS[1:], LATENESS_DAYS)
    apply(lake.spark, lake, DAYS[1:], RULE)


def land_and_apply(folder: Path, lake: Lake) -> None:
    """Take a batch that came again and a new one, in one run."""
    land(lake.spark, lake, Landing(str(folder / "landing")), DAYS, LATENESS_DAYS)
    apply(lake.spark, lake, DAYS, RULE)


COMMANDS: dict[str, Callable[[Path, Lake], object]] = {
    "run": land_and_apply,
    "new day": land_and_apply_a_new_day,
    "summarize": lambda _, lake: summarize(lake.spark, lake, RULE),
    "expire": lambda _, lake: maintain.expire(lake.spark, lake, RETENTION),
    "compact": lambda _, lake: maintain.compact(lake.spark, lake, -1),
    "rebuild": lambda _, lake: maintain.rebuild(lake.spark, lake, OTHER_RULE),
}


def die() -> None:
    """End this process group as a power cut would."""
    os.killpg(0, signal.SIGKILL)


def die_at_call(when: str, call: str, number: int) -> None:
    """Die before or after the n-th call of a method or function."""
    owner_name, name = call.split(".")
    owner = {"Ledger": Ledger, "raw": raw, "ods": ods, "writes": writes, "sessions": sessions}[owner_name]
    method = getattr(owner, name)
    calls = 0

    @functools.wraps(method)
    def deadly(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if when == "before" and calls == number:
            die()
        result = method(*arguments, **options)
        if when == "after" and calls == number:
            die()
        return result

    setattr(owner, name, deadly)


def die_inside(table: Path) -> None:
    """Die as soon as there is a file that no commit knows."""

    def files() -> set[Path]:
        return {path for pattern in ("**/[!.]*.parquet", "[!.]*.bin") for path in table.glob(pattern)}

    known = files()

    def watch() -> None:
        while files() == known:
            time.sleep(0.001)
        die()

    threading.Thread(target=watch, daemon=True).start()


def main(folder: str, command: str, moment: str) -> None:
    """Run a command until its moment comes; to get to the end is an error."""
    spark = spark_session("local[2]")
    lake = Lake(spark, f"{folder}/lake")
    when, place, *number = moment.split()
    if when == "inside":
        die_inside(Path(folder) / "lake" / place)
    else:
        die_at_call(when, place, int(number[0]) if number else 1)
    COMMANDS[command](Path(folder), lake)
    sys.exit(f"the moment never came: {moment}")


if __name__ == "__main__":
    main(*sys.argv[1:])
