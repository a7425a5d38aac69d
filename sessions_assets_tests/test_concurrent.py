"""Two runs at once on one lake, past the pool that should keep them apart: none is lost, none is doubled.

Real processes, each with a JVM of its own, that start each round at the same moment.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.spark import spark_session
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event, expected_table
from sessions_assets_tests.tables import at, day, stored_rows, write_batches

pytestmark = pytest.mark.long

PROJECT = Path(__file__).parent.parent
ROUNDS = 3


def batches() -> dict[int, list[Event]]:
    """Make a batch for each process and round, all of one key and date, so that each changes what the others wrote."""
    chain = [Event("u", "abc"[number % 3], "I", at("00:00") + number * timedelta(minutes=4)) for number in range(60)]
    return {number: chain[number :: 2 * ROUNDS] for number in range(2 * ROUNDS)}


def wait_for(file: Path, parts: Sequence["subprocess.Popen[bytes]"] = ()) -> None:
    end = time.monotonic() + 240
    while not file.exists():
        assert time.monotonic() < end, f"{file.name} does not come"
        assert all(part.poll() in {None, 0} for part in parts), f"a process ended before {file.name}: see its traceback"
        time.sleep(0.001)


def take_part(folder: Path, part: int) -> None:
    """Land and apply one day a round, when the round begins; say how it ended."""
    lake, landing = Lake(spark_session("local[1]"), f"{folder}/lake"), Landing(f"{folder}/landing")
    for number in range(ROUNDS):
        (folder / f"ready {number} {part}").touch()
        wait_for(folder / f"go {number}")
        days = [day(2 * number + part)]
        try:
            land(lake.spark, lake, landing, days, LATENESS_DAYS)
            apply(lake.spark, lake, days, SessionRule())
        except LakeError as error:
            (folder / f"failed {number} {part}").write_text(str(error))


def test_two_runs_at_once_end_right_or_fail_cleanly(spark: SparkSession, tmp_path: Path) -> None:
    """Whoever fails says that another run has written; repeated, the table is the rule over all (R18)."""
    write_batches(tmp_path / "landing", {day(number): events for number, events in batches().items()})
    program = "import sys; from pathlib import Path; from sessions_assets_tests.test_concurrent import take_part; "
    program += "take_part(Path(sys.argv[1]), int(sys.argv[2]))"
    with ExitStack() as ends:
        parts = []
        for part in ("0", "1"):
            arguments = [sys.executable, "-c", program, str(tmp_path), part]
            parts.append(ends.enter_context(subprocess.Popen(arguments, cwd=PROJECT)))  # noqa: S603 - our own text
            ends.callback(parts[-1].kill)
        for number in range(ROUNDS):
            for part in (0, 1):
                wait_for(tmp_path / f"ready {number} {part}", parts)
            (tmp_path / f"go {number}").touch()
        assert [part.wait(timeout=300) for part in parts] == [0, 0]

    lake = Lake(spark, str(tmp_path / "lake"))
    failed = sorted(tmp_path.glob("failed *"))
    assert all("another run has written" in file.read_text() for file in failed), [f.read_text() for f in failed]
    for file in failed:
        number, part = map(int, file.name.split()[1:])
        apply(lake.spark, lake, [day(2 * number + part)], SessionRule())
    expected = {day(number): events for number, events in batches().items()}
    assert stored_rows(lake) == sorted(expected_table(expected, timedelta(seconds=300), frozenset("abc")))
    assert len(lake.ledger.entries()) == 2 * ROUNDS
    print(f"{len(failed)} of {2 * ROUNDS} runs met another one")  # noqa: T201 - for the report of the long tests
