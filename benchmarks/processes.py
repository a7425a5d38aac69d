"""How measured work is started: a module of ours, each time in a fresh process that prints one line of JSON at most."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

Run = dict[str, Any]
"""The numbers of `meters.Measured`, as a process has printed them."""


class FailedError(Exception):
    """A measured process failed; holds the last of what it said."""


def run(*arguments: object) -> Run:
    """Run a module of ours with its arguments; give what it printed as JSON."""
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if done.returncode:
        raise FailedError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr[-4000:]}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {}


def run_in_turn(repeats: int, commands: Mapping[str, Sequence[object]]) -> dict[str, list[Run]]:
    """Run each command so often, one after the other, so that a noisy minute of the machine meets all of them."""
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(repeats):
        for name, arguments in commands.items():
            found[name].append(run(*arguments))
            print(f"  {number + 1} {name}: {found[name][-1]['wall']:.2f} s", flush=True)
    return found


def median_wall(runs: Sequence[Run]) -> float:
    """Return the median of the seconds."""
    return statistics.median(one["wall"] for one in runs)
