"""Two runs commit at the same time, without the pool that keeps them apart: no row is lost, none is stored twice.

Real processes, each with a JVM of its own, on real Delta tables. In each round both have read the same version of
ods_sessions and computed their changes before either of them may commit.
"""

import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake import writes
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
# Of so few rows nearly all is planning; compiling each query would cost more than it saves.
_FOR_TINY_DATA = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
# In the first round there is no table yet, in the second both change rows of the first.
ROUNDS = 2
PARTS = (0, 1)
# The call that writes ods_sessions, once a run, with everything computed.
OWNER, COMMIT = writes, "commit_changes"


def batches() -> dict[int, list[Event]]:
    """Return a batch for each process and round, all of one key and date: each changes rows of the others."""
    chain = [Event("u", "abc"[number % 3], "I", at("00:00") + number * timedelta(minutes=4)) for number in range(24)]
    return {number: chain[number :: len(PARTS) * ROUNDS] for number in range(len(PARTS) * ROUNDS)}


def arrival_of(number: int, part: int) -> int:
    return len(PARTS) * number + part


def meet(folder: Path, point: str, part: int) -> None:
    """Wait at a point until the other process has come to it too."""
    (folder / f"{point} {part}").touch()
    end = time.monotonic() + 300
    while not all((folder / f"{point} {other}").exists() for other in PARTS):
        assert time.monotonic() < end, f"the other process does not come to {point}"
        time.sleep(0.001)


def take_part(folder: Path, part: int) -> None:
    """Land and apply one day in each round, committing at the same time as the other process; record a failure."""
    lake = Lake(spark_session("local[1]", "1g", config=_FOR_TINY_DATA), f"{folder}/lake")
    landing = Landing(f"{folder}/landing")
    commit = getattr(OWNER, COMMIT)
    for number in range(ROUNDS):

        def commit_together(*arguments: Any, number: int = number) -> Any:  # noqa: ANN401 - passed on
            meet(folder, f"commit {number}", part)
            return commit(*arguments)

        setattr(OWNER, COMMIT, commit_together)
        days = [day(arrival_of(number, part))]
        meet(folder, f"start {number}", part)
        try:
            land(lake.spark, lake, landing, days, LATENESS_DAYS)
            apply(lake.spark, lake, days, SessionRule())
        except LakeError as error:
            (folder / f"failed {number} {part}").write_text(str(error))


def test_of_two_runs_at_once_one_fails_and_is_repeated(spark: SparkSession, tmp_path: Path) -> None:
    """In each round one run fails because another has written; repeated, the table is the rule over all days (R18)."""
    write_batches(tmp_path / "landing", {day(number): events for number, events in batches().items()})
    program = "import sys; from pathlib import Path; from sessions_assets_tests.test_concurrent import take_part; "
    program += "take_part(Path(sys.argv[1]), int(sys.argv[2]))"
    with ExitStack() as ends:
        processes = []
        for part in PARTS:
            arguments = [sys.executable, "-c", program, str(tmp_path), str(part)]
            processes.append(ends.enter_context(subprocess.Popen(arguments, cwd=PROJECT)))  # noqa: S603 - our own text
            ends.callback(processes[-1].kill)
        assert [process.wait(timeout=500) for process in processes] == [0, 0]

    failed = {file.name: file.read_text() for file in sorted(tmp_path.glob("failed *"))}
    assert [name.split()[1] for name in failed] == [str(number) for number in range(ROUNDS)]
    assert all("another run has written" in message for message in failed.values()), failed
    lake = Lake(spark, str(tmp_path / "lake"))
    for name in failed:
        number, part = map(int, name.split()[1:])
        apply(lake.spark, lake, [day(arrival_of(number, part))], SessionRule())
    expected = {day(number): events for number, events in batches().items()}
    assert stored_rows(lake) == sorted(expected_table(expected, timedelta(seconds=300), frozenset("abc")))
    assert [entry.applied_at is not None for entry in lake.ledger.entries().values()] == [True] * len(expected)
