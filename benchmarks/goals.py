"""The goals of speed and memory: one scenario for each, what it reached, and whether that is enough.

Usage: python -m benchmarks.goals [NAME...] [--output benchmarks/results] [--work FOLDER] [--events N] [--seed N]

Without a name all of them, at their full sizes: hours. OUTPUT/goals.jsonl keeps a line for each measurement,
OUTPUT/goals.md shows the last one of each goal.
"""

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import scenarios, summaries
from benchmarks.processes import FailedError
from benchmarks.reports import machine
from benchmarks.rivals import AGAIN, DUCKDB, FIXED_WINDOW, OURS
from benchmarks.scenarios import Asked, Scenario

_AT_MOST, _AT_LEAST, _COMPLETES = "<=", ">=", "completes"
_MILLION = 1_000_000


@dataclass(frozen=True)
class Goal:
    """What is to be reached: a number and its limit, at so many events a day."""

    name: str
    measured: str
    unit: str
    relation: str
    limit: float
    events: int
    scenario: Scenario
    is_from_comparison: bool = False

    def is_met(self, number: float) -> bool:
        """Return whether a number meets the goal; where a run only has to complete, any does."""
        return {_AT_MOST: number <= self.limit, _AT_LEAST: number >= self.limit, _COMPLETES: True}[self.relation]

    def __str__(self) -> str:
        """Write the goal down."""
        return (
            self.relation if self.relation == _COMPLETES else f"{self.relation} {self.limit:,.4g} {self.unit}".strip()
        )


GOALS = {
    goal.name: goal
    for goal in (
        Goal("one-day-duckdb", "one more day, seconds: ours / DuckDB over the whole history", "", _AT_MOST, 1 / 3,
             _MILLION, scenarios.ratio(OURS, DUCKDB), is_from_comparison=True),
        Goal("one-day-fixed-window", "one more day, seconds: fixed window / ours", "", _AT_LEAST, 3,
             _MILLION, scenarios.ratio(FIXED_WINDOW, OURS), is_from_comparison=True),
        Goal("write-amplification", "one more day: rows written / rows that differ", "", _AT_MOST, 1.05,
             _MILLION, scenarios.written_for_differing(OURS), is_from_comparison=True),
        Goal("rerun", "seconds: a day once more / the day", "", _AT_MOST, 1 / 3,
             _MILLION, scenarios.ratio(AGAIN, OURS), is_from_comparison=True),
        Goal("history-length", "one warm day, seconds: after the long history / after a tenth of it", "", _AT_MOST, 1.1,
             2_000, scenarios.history_length),
        Goal("catch-up", "seconds: 14 days in one run / the same rows as one batch", "", _AT_MOST, 1.5,
             100_000, scenarios.catch_up),
        Goal("skew", "one day, seconds: a key with 20 % of all events / none", "", _AT_MOST, 1.5,
             _MILLION, scenarios.skew),
        Goal("natives", "a batch of native events of one key", "s", _COMPLETES, 0,
             5 * _MILLION, scenarios.natives),
        Goal("memory", "one day after six, default settings: peak of Python + JVM", "MiB", _AT_MOST, 3 * 1024,
             _MILLION, scenarios.memory),
        Goal("ten-million", "one day in a new lake: peak of Python + JVM", "MiB", _AT_MOST, 24 * 1024,
             10 * _MILLION, scenarios.large_day),
        Goal("sessions-day", "seconds: one more day of sessions / land and apply of the day", "", _AT_MOST, 0.25,
             _MILLION, scenarios.summaries_ratio(summaries.DAY_OF_SESSIONS, summaries.DAY)),
        Goal("sessions-anew", "seconds: all sessions anew / a plain aggregate, written", "", _AT_MOST, 1.2,
             _MILLION, scenarios.summaries_ratio(summaries.ANEW, summaries.AGGREGATE)),
        Goal("cold", "13 rows after three days: the command from start to end", "s", _AT_MOST, 12,
             13, scenarios.cold_start),
    )
}  # fmt: skip


def main() -> None:
    """Measure the goals that are named, and show all that were ever measured."""
    arguments = _arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    kept = arguments.output / "goals.jsonl"
    for name in arguments.names or GOALS:
        print(name, flush=True)
        record = _measure(GOALS[name], arguments)
        print(json.dumps(record), flush=True)
        with kept.open("a") as file:
            file.write(json.dumps(record) + "\n")
    text = _table(json.loads(line) for line in kept.read_text().splitlines())
    (arguments.output / "goals.md").write_text(text)
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.goals")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(GOALS)}; default: all")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", help="folder for the data; default: where temporary files are")
    parser.add_argument("--events", type=int, help="of each day; default: as each goal says")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=30, help="of the comparison of all rivals that is read")
    parser.add_argument("--history", type=int, default=400, help="days of the long history; the short one has a tenth")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--driver-memory", default="8g", help="of ten-million")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(GOALS):
        parser.error(f"no such goal: {', '.join(unknown)}")
    return arguments


def _measure(goal: Goal, arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("days", "history", "repeats", "seed", "driver_memory", "output")
    asked = Asked(events=arguments.events or goal.events, **{name: getattr(arguments, name) for name in names})
    try:
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            found = goal.scenario(asked, Path(folder))
        reached: dict[str, Any] = {"number": found.number, "met": goal.is_met(found.number), "details": found.details}
    except (FailedError, FileNotFoundError) as error:
        reached = {"number": None, "met": False, "details": {"failed": str(error)}}
    said = {"name": goal.name, "measured": goal.measured, "events": asked.events, "unit": goal.unit, "goal": str(goal)}
    where = {"command": _command(goal, asked), "machine": machine(), "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M}"}
    return said | reached | where


def _command(goal: Goal, asked: Asked) -> str:
    """Write the command that gives the number; what is as by default is left out."""
    if goal.is_from_comparison:
        return f"make bench DAYS={asked.days} EVENTS={asked.events}"
    usual = {"events": goal.events, "days": 30, "history": 400, "repeats": 3, "seed": 1, "driver_memory": "8g"}
    given = {name: getattr(asked, name) for name, value in usual.items() if getattr(asked, name) != value}
    options = [f"--{name.replace('_', '-')} {value}" for name, value in given.items()]
    return " ".join(["python -m benchmarks.goals", goal.name, *options])


def _table(records: Iterable[dict[str, Any]]) -> str:
    last = {record["name"]: record for record in records}
    lines = ["| goal | measured | events a day | reached | asked for | | command |", "| --- " * 7 + "|"]
    for record in (last[name] for name in GOALS if name in last):
        reached = "failed" if record["number"] is None else f"{record['number']:,.4g} {record['unit']}".strip()
        numbers = (f"{record['events']:,}", reached, record["goal"], "met" if record["met"] else "missed")
        lines.append(f"| {' | '.join((record['name'], record['measured'], *numbers, '`' + record['command'] + '`'))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
