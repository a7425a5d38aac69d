"""A model of scaling: what a day costs, fixed and for each event, from two comparisons of different size.

Usage: python -m benchmarks.model SMALL.json LARGE.json [--cores 16] [--hours 1]

Reads what `python -m benchmarks` has stored. Two sizes give a line for each number, no more: the wider apart they are,
the better it is known.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import Run
from benchmarks.rivals import OURS

_SCALED = (100_000_000, 10_000_000_000)
_RAW_DAYS = 14

CPU, JOBS = "CPU seconds", "Spark jobs"
# Whole files, as often as a scan opens them; of some, fewer columns are read.
RAW, TABLE = "bytes of raw files read", "bytes of files of the table read"
SHUFFLED, WRITTEN = "bytes shuffled", "bytes written"


@dataclass(frozen=True)
class Line:
    """A number as a fixed part and one for each event."""

    fixed: float
    per_event: float

    def at(self, events: int) -> float:
        """Return the number for a day of so many events."""
        return self.fixed + self.per_event * events


def main() -> None:
    """Print the model and what follows from it."""
    parser = argparse.ArgumentParser(prog="benchmarks.model")
    parser.add_argument("runs", type=Path, nargs=2, metavar="JSON", help="two comparisons of different size")
    parser.add_argument("--cores", type=int, default=16, help="of one worker")
    parser.add_argument("--hours", type=float, default=1, help="in which a day is to be done")
    arguments = parser.parse_args()
    small, large = sorted((json.loads(file.read_text()) for file in arguments.runs), key=_events)
    lines = fitted(small, large)
    print("\n".join(_shown(lines, small, large)))
    if lines[CPU].per_event <= 0:
        raise SystemExit("The larger day took no more CPU than the smaller one: take sizes that are wider apart.")
    print("\n".join(["", *_scaled(lines, large, arguments.cores, arguments.hours)]))


def fitted(small: dict[str, Any], large: dict[str, Any]) -> dict[str, Line]:
    """Draw a line through two comparisons, for each number of one more day of ours."""
    one, two = _numbers(small["runs"][OURS]), _numbers(large["runs"][OURS])
    lines = {}
    for name in one:
        per_event = (two[name] - one[name]) / (_events(large) - _events(small))
        lines[name] = Line(one[name] - per_event * _events(small), per_event)
    return lines


def _events(comparison: dict[str, Any]) -> int:
    return int(comparison["shape"]["events_per_day"])


def _bytes_per_event(comparison: dict[str, Any], counted: str) -> float:
    """Divide what a table holds after all days by their events."""
    size = comparison["runs"][OURS][-1]["counted"][counted] * 1e6
    return float(size / (_events(comparison) * comparison["shape"]["days"]))


def _numbers(runs: list[Run]) -> dict[str, float]:
    counted = runs[-1]["counted"]
    return {
        RAW: (counted["MB of files in landing"] + counted["MB of files in raw_events"]) * 1e6,
        TABLE: counted["MB of files in ods_sessions"] * 1e6,
        SHUFFLED: counted["MB shuffled"] * 1e6,
        WRITTEN: counted["MB written"] * 1e6,
        CPU: statistics.median(run["cpu"] for run in runs),
        JOBS: counted["spark jobs"],
    }


def _shown(lines: dict[str, Line], small: dict[str, Any], large: dict[str, Any]) -> list[str]:
    sizes = " and ".join(f"{_events(one):,}" for one in (small, large))
    table = [
        f"One more day of ours, from days of {sizes} events.",
        "",
        "| what | fixed | per event |",
        "| --- " * 3 + "|",
    ]
    return table + [f"| {name} | {line.fixed:,.6g} | {line.per_event:.4g} |" for name, line in lines.items()]


def _scaled(lines: dict[str, Line], large: dict[str, Any], cores: int, hours: float) -> list[str]:
    stored, raw = (_bytes_per_event(large, table) for table in ("MB of the table", "MB of raw_events"))
    text = [
        "Assumed: every number grows with the events of a day as it does between these two sizes;",
        f"{cores} cores a worker, all of them busy and as fast as those of this machine; a day done in {hours:g} h;",
        "as many events for each user, as many of them late, and as many days of history with the same keys, as here;",
        f"{stored:.1f} bytes of the table for each event, not compacted; {raw:.1f} of raw, kept for {_RAW_DAYS} days.",
        "",
        "| events a day | CPU h | workers | GB shuffled | GB read | GB written | TB of the table a year | TB of raw |",
        "| --- " * 8 + "|",
    ]
    for events in _SCALED:
        at = {name: line.at(events) for name, line in lines.items()}
        cpu_hours = at[CPU] / 3600
        workers = -(-cpu_hours // (cores * hours))
        gigabytes = (at[SHUFFLED] / 1e9, (at[RAW] + at[TABLE]) / 1e9, at[WRITTEN] / 1e9)
        terabytes = (stored * events * 365 / 1e12, raw * events * _RAW_DAYS / 1e12)
        numbers = (cpu_hours, workers, *gigabytes, *terabytes)
        text.append(f"| {events:,} | " + " | ".join(f"{number:,.4g}" for number in numbers) + " |")
    return text


if __name__ == "__main__":
    main()
