"""A cold run: the command of a day from the start of its process to its end, and where the time goes.

Usage: python -m benchmarks.cold: prints the seconds that a Spark session takes to start, once all is imported.

The parts come from the events that Dagster keeps of the run. A session starts inside the first step, which is the raw
one; its share is measured in a process of its own and taken off that step.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.events import FIRST_DAY
from benchmarks.lakes import session
from benchmarks.processes import FailedError, run

_PROJECT = Path(__file__).parent.parent
_SETTINGS = ("SESSIONS_", "SPARK_", "AWS_", "DAGSTER_")


def measure(folder: Path, day: date, repeats: int) -> tuple[float, dict[str, Any]]:
    """Run the command so often, each time on a copy of FOLDER/history.

    Returns:
        The median of the seconds; all of them, and the parts of the run in the middle.
    """
    home = folder / "home"
    home.mkdir()
    shutil.copy(_PROJECT / ".dagster_home" / "dagster.yaml", home)
    found = []
    for number in range(repeats):
        found.append(_one(folder, home, day))
        print(f"  {number + 1} cold: {found[-1]['all']:.2f} s", flush=True)
    median = statistics.median_low(parts["all"] for parts in found)
    middle = next(parts for parts in found if parts["all"] == median)
    return median, {"seconds": [parts["all"] for parts in found], **middle}


def _one(folder: Path, home: Path, day: date) -> dict[str, float]:
    lake = folder / "lake"
    if lake.is_dir():
        shutil.rmtree(lake)
    shutil.copytree(folder / "history", lake)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    environment |= {
        "DAGSTER_HOME": str(home), "PYTHONPATH": str(_PROJECT), "SESSIONS_LANDING": str(folder / "landing"),
        "SESSIONS_LAKE": str(lake), "SESSIONS_FIRST_DAY": str(FIRST_DAY),
    }  # fmt: skip
    asked = ["-m", "sessions_assets.definitions", "--select", "raw_events,ods_sessions", "--partition", str(day)]
    command = [sys.executable, "-m", "dagster", "asset", "materialize", *asked]
    started = time.time()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    ended = time.time()
    if done.returncode:
        raise FailedError(done.stderr[-4000:])
    return _parts(home, started, ended, run("benchmarks.cold")["seconds"])


def _parts(home: Path, started: float, ended: float, of_session: float) -> dict[str, float]:
    """Return how the seconds of the newest run were spent."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (newest,) = instance.get_runs(limit=1)
        logged = [(entry.timestamp, entry.dagster_event) for entry in instance.all_logs(newest.run_id)]
    events = [(at, event.event_type, event.step_key) for at, event in logged if event is not None]
    at_start = {key: at for at, kind, key in events if kind == dg.DagsterEventType.STEP_START}
    at_end = {key: at for at, kind, key in events if kind == dg.DagsterEventType.STEP_SUCCESS}
    steps = {key or "": at_end[key] - begun for key, begun in at_start.items()}
    parts = {
        "until the run begins": next(at for at, kind, _ in events if kind == dg.DagsterEventType.RUN_START) - started,
        "Spark session": of_session,
        "raw step": steps.pop("raw_events") - of_session,
        "ods step": steps.pop("ods_sessions"),
        "checks": sum(steps.values()),
    }
    return {"all": ended - started, **parts, "rest": ended - started - sum(parts.values())}


def main() -> None:
    """Measure the start of a session."""
    started = time.perf_counter()
    session()
    print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()
