"""What is done to reach the number of a goal: the data made, the processes started, the numbers put together.

Each scenario gets what was asked for and an empty folder, and returns its number with the numbers behind it. A size
that was not asked for is the one of the goal.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import cold
from benchmarks.events import Shape, write_batches
from benchmarks.lakes import days_of
from benchmarks.processes import Run, median_wall, run, run_in_turn
from benchmarks.reports import name_of


@dataclass(frozen=True)
class Asked:
    """The sizes of a scenario.

    Attributes:
        events: of each day.
        days: of the comparison of all rivals whose runs are read.
        history: days of the long history; the short one has a tenth.
        repeats: of each command that is compared by its median.
        seed: of the events.
        driver_memory: of the day that is too large for the default.
        output: where the comparison of all rivals has left its runs.
    """

    events: int
    days: int
    history: int
    repeats: int
    seed: int
    driver_memory: str
    output: Path


@dataclass(frozen=True)
class Found:
    """The number of a goal, and the numbers behind it."""

    number: float
    details: dict[str, Any] = field(default_factory=dict)


Scenario = Callable[[Asked, Path], Found]


# --- From the comparison of all rivals


def ratio(one: str, other: str) -> Scenario:
    """Divide the median seconds of two ways in that one comparison."""

    def scenario(asked: Asked, _: Path) -> Found:
        compared = _compared(asked)
        seconds = {name: median_wall(compared["runs"][name]) for name in (one, other)}
        return Found(seconds[one] / seconds[other], seconds | {"compared on": compared["machine"]})

    return scenario


def written_for_differing(name: str) -> Scenario:
    """Divide the rows that a way wrote by those that are others afterwards."""

    def scenario(asked: Asked, _: Path) -> Found:
        counted = _compared(asked)["runs"][name][-1]["counted"]
        numbers = {what: counted[what] for what in ("rows written", "rows that differ", "files touched")}
        return Found(numbers["rows written"] / numbers["rows that differ"], numbers)

    return scenario


def _compared(asked: Asked) -> dict[str, Any]:
    file = asked.output / f"{name_of(asked.days, asked.events)}.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


# --- How far the time of a day depends on something that should not matter


def history_length(asked: Asked, folder: Path) -> Found:
    """Measure the same warm day after a short and a long history: the short one is the end of the long one.

    Both had the upkeep that the project's schedules do each day: raw days expire, closed dates are compacted.
    """
    long, short = folder / "long", folder / "short"
    write_batches(long / "landing", _shape(asked, asked.history + 3), asked.seed)
    (short / "landing").mkdir(parents=True)
    for day in days_of(long)[-(asked.history // 10 + 3) :]:
        os.link(long / "landing" / f"{day}.parquet", short / "landing" / f"{day}.parquet")
    for data_folder in (short, long):
        run("benchmarks.history", data_folder, "--in-ranges-of", 20)
    neglected = _compare(asked, {"short": short, "long": long}, "benchmarks.rivals", "ours")
    for data_folder in (short, long):
        run("benchmarks.history", data_folder, "--upkeep")
    kept = _compare(asked, {"short": short, "long": long}, "benchmarks.rivals", "ours")
    details = {"no upkeep ever": neglected | {"ratio": neglected["long"] / neglected["short"]}, "upkeep": kept}
    return Found(kept["long"] / kept["short"], details)


def catch_up(asked: Asked, folder: Path) -> Found:
    """Measure 14 days in one run, and the same rows delivered as one batch of the last day."""
    by_day, at_once = folder / "14 days", folder / "1 batch"
    write_batches(by_day / "landing", _shape(asked, 14), asked.seed)
    files = sorted((by_day / "landing").glob("*.parquet"))
    (at_once / "landing").mkdir(parents=True)
    pq.write_table(pa.concat_tables(map(pq.read_table, files)), at_once / "landing" / files[-1].name)
    one_run = ["benchmarks.one_run", "--warm"]
    commands = {"14 days": [*one_run, by_day], "1 batch": [*one_run, at_once, "--lateness", 20]}
    runs = run_in_turn(asked.repeats, commands)
    seconds = {name: median_wall(found) for name, found in runs.items()}
    return Found(seconds["14 days"] / seconds["1 batch"], seconds | _counted(runs, "rows written"))


def skew(asked: Asked, folder: Path) -> Found:
    """Measure a day in which one key has a fifth of all events, after six such days, and the same without that key."""
    folders = {"skewed": folder / "skewed", "even": folder / "even"}
    for name, data_folder in folders.items():
        share = 0.2 if name == "skewed" else 0.0
        _with_history(data_folder, _shape(asked, 7, skew=share, in_microseconds=True), asked.seed)
    commands = {
        name: ["benchmarks.one_run", data_folder, "--last", 1, "--warm"] for name, data_folder in folders.items()
    }
    runs = run_in_turn(asked.repeats, commands)
    seconds = {name: median_wall(found) for name, found in runs.items()}
    return Found(seconds["skewed"] / seconds["even"], seconds | _counted(runs, "rows written", "MB spilled"))


def summaries_ratio(one: str, other: str) -> Scenario:
    """Divide seconds of the work on the table sessions by what it is compared with, in one process."""

    def scenario(asked: Asked, folder: Path) -> Found:
        _with_history(folder, _shape(asked, asked.days), asked.seed, keep=3)
        found = run("benchmarks.summaries", folder)
        return Found(found[one] / found[other], found)

    return scenario


def _shape(asked: Asked, days: int, **others: Any) -> Shape:  # noqa: ANN401 - fields of a shape
    return Shape(days=days, events_per_day=asked.events, users=max(asked.events // 20, 50), **others)


def _with_history(data_folder: Path, shape: Shape, seed: int, keep: int = 1) -> None:
    """Write batches, and apply all but the last ones, day by day."""
    write_batches(data_folder / "landing", shape, seed)
    run("benchmarks.history", data_folder, "--keep", keep, "--in-ranges-of", 1)


def _compare(asked: Asked, folders: dict[str, Path], *command: str) -> dict[str, Any]:
    runs = run_in_turn(asked.repeats, {name: [*command, data_folder] for name, data_folder in folders.items()})
    seconds = {name: median_wall(found) for name, found in runs.items()}
    return seconds | _counted(runs, "files in the table")


def _counted(runs: dict[str, list[Run]], *names: str) -> dict[str, float]:
    """Pick what was counted in the last run of each."""
    return {f"{one}, {name}": found[-1]["counted"][name] for one, found in runs.items() for name in names}


# --- What fits into memory


def natives(asked: Asked, folder: Path) -> Found:
    """Land and apply a batch in which one key has native events only."""
    alone = Shape(1, asked.events, users=1, late=0, repeated=0, acting=0, skew=1, in_microseconds=True)
    write_batches(folder / "landing", alone, asked.seed)
    found = run("benchmarks.one_run", folder)
    return Found(found["wall"], _of_memory(found))


def memory(asked: Asked, folder: Path) -> Found:
    """Land and apply one day after six, with the memory that a driver has by default."""
    _with_history(folder, _shape(asked, 7), asked.seed)
    found = run("benchmarks.one_run", folder, "--last", 1)
    return Found(found["peak_mib"], _of_memory(found))


def large_day(asked: Asked, folder: Path) -> Found:
    """Land and apply one day in a new lake, with more memory for the driver."""
    write_batches(folder / "landing", _shape(asked, 1), asked.seed)
    found = run("benchmarks.one_run", folder, "--driver-memory", asked.driver_memory)
    return Found(found["peak_mib"], _of_memory(found) | {"driver memory": asked.driver_memory})


def _of_memory(found: Run) -> dict[str, float]:
    counted = {what: found["counted"][what] for what in ("MB spilled", "MB shuffled", "rows written")}
    return {"seconds": found["wall"], "CPU seconds": found["cpu"], "peak MiB": found["peak_mib"], **counted}


# --- From nothing


def cold_start(asked: Asked, folder: Path) -> Found:
    """Run the command of a day on a small lake, as a user would in a shell."""
    shape = Shape(days=4, events_per_day=asked.events, users=5, late=0, repeated=0)
    _with_history(folder, shape, asked.seed)
    day: date = days_of(folder)[-1]
    return Found(*cold.measure(folder, day, asked.repeats))
