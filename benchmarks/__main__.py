"""Measure all rivals on the same events in one run, each table checked row by row; write tables, a plot and the runs.

Usage: python -m benchmarks [--days 30] [--events 20000] [--repeats 3] [--output benchmarks/results] [--work FOLDER]
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks import reports
from benchmarks.deltas import rows_that_differ
from benchmarks.equality import check
from benchmarks.events import Shape, write_batches
from benchmarks.floor import floor
from benchmarks.lakes import days_of
from benchmarks.processes import Run, run, run_in_turn
from benchmarks.rivals import AGAIN, FIXED_WINDOW, OURS, RIVALS


def main() -> None:
    """Generate the events, measure, compare the tables, write the report."""
    arguments = _arguments()
    shape = Shape(days=arguments.days, events_per_day=arguments.events, users=max(arguments.events // 20, 50))
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        folder = Path(temporary)
        rows = write_batches(folder / "landing", shape, seed=arguments.seed)
        started = time.perf_counter()
        run("benchmarks.history", folder)
        print(f"{rows} rows, {shape.days} days; history applied in {time.perf_counter() - started:.0f} s", flush=True)
        runs = run_in_turn(arguments.repeats, {name: ("benchmarks.rivals", name, folder) for name in RIVALS})
        check(folder, RIVALS)
        _count_differing(folder, runs)
        last = folder / "landing" / f"{days_of(folder)[-1]}.parquet"
        of_ours = folder / OURS
        found = floor(last, of_ours / "gone.parquet", of_ours / "came.parquet", folder / "floor.parquet")
    reports.write(arguments.output, shape, arguments.seed, runs, found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--events", type=int, default=20_000, help="of each day")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", help="folder for the data; default: where temporary files are")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    return parser.parse_args()


def _count_differing(folder: Path, runs: dict[str, list[Run]]) -> None:
    """Add to the last run of each way that changes a table how many rows became others: its table is still there."""
    for name in (OURS, AGAIN, FIXED_WINDOW):
        own_folder = folder / name
        own_folder.mkdir()
        last, table = runs[name][-1], folder / "results" / name / "ods_sessions"
        last["counted"]["rows that differ"] = rows_that_differ(table, last["read_version"], own_folder)


if __name__ == "__main__":
    main()
