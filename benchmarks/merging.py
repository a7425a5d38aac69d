"""How the same changed rows get into ods_sessions: by row addresses, by MERGE with deletion vectors, and without.

Usage: python -m benchmarks.merging [--events 20000 200000 1000000] [--days 9] [--repeats 3] [--output FOLDER]
       python -m benchmarks.merging --way NAME FOLDER (one measurement, as the first form starts it)

Each way lands and applies the last two days after a history by our own code, where only the write of the changes is
another one; that of the last day is measured. Writes OUTPUT/merging.md.
"""

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import reports
from benchmarks.deltas import rows_that_differ
from benchmarks.equality import check_same
from benchmarks.events import Shape, write_batches
from benchmarks.lakes import days_of, land_and_apply, session
from benchmarks.meters import Measured
from benchmarks.processes import Run, median_wall, run, run_in_turn
from benchmarks.rivals import measured_lake
from sessions_assets.lake import writes
from sessions_assets.lake.commits import Committed
from sessions_assets.lake.lake import MERGE, ROWS
from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets_tests.lakes import Lake

_OWN, _VECTORS, _COPIES = "our commit", "MERGE, vectors", "MERGE, copies"
_WAYS = (_OWN, _VECTORS, _COPIES)


class MeasuredCommit:
    """Measures the commit of changed rows, the last one; MERGE marks rows or copies files as the table says."""

    found: Measured

    def __init__(self, lake: Lake) -> None:
        self._lake, self._commit = lake, writes.commit_changes

    def __call__(self, *arguments: Any) -> Committed:  # noqa: ANN401 - passed on
        """Commit and measure."""
        made: list[Committed] = []
        self.found = measured_lake(self._lake, lambda: made.append(self._commit(*arguments)))
        return made[0]


def main() -> None:
    """Compare the ways at each size, or measure one of them."""
    arguments = _arguments()
    if arguments.way:
        print(_measured(arguments.way, *arguments.folder).as_json(), flush=True)
        return
    text = [f"The write alone, at the end of {arguments.days} days; {reports.machine()}.", "", *_heading()]
    for events in arguments.events:
        text += _rows(events, _compared(events, arguments))
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "merging.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.merging")
    parser.add_argument("--events", type=int, nargs="+", default=[20_000, 200_000, 1_000_000], help="of each day")
    parser.add_argument("--days", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", help="folder for the data; default: where temporary files are")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--way", choices=_WAYS)
    parser.add_argument("folder", type=Path, nargs="*")
    return parser.parse_args()


def _measured(way: str, folder: Path) -> Measured:
    target = folder / "results" / way
    if target.is_dir():
        shutil.rmtree(target)
    shutil.copytree(folder / "history", target)
    lake = Lake(session(), str(target), commit=ROWS if way == _OWN else MERGE)
    table = f"delta.`{lake.path(ODS_SESSIONS)}`"
    lake.spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableDeletionVectors' = '{way != _COPIES}')")
    commit = writes.commit_changes = MeasuredCommit(lake)  # type: ignore[assignment]
    for day in days_of(folder)[-2:]:
        land_and_apply(lake, folder, [day])
    return commit.found


def _compared(events: int, arguments: argparse.Namespace) -> dict[str, list[Run]]:
    print(f"{events} events a day", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        folder = Path(temporary)
        shape = Shape(days=arguments.days, events_per_day=events, users=max(events // 20, 50))
        write_batches(folder / "landing", shape, arguments.seed)
        run("benchmarks.history", folder, "--keep", 2)
        commands = {way: ("benchmarks.merging", "--way", way, folder) for way in _WAYS}
        runs = run_in_turn(arguments.repeats, commands)
        check_same(folder, _OWN, _WAYS)
        last = runs[_OWN][-1]
        table = folder / "results" / _OWN / ODS_SESSIONS.name
        differing = rows_that_differ(table, last["read_version"], folder)
    for found in runs.values():
        found[-1]["counted"]["rows that differ"] = differing
    return runs


_COLUMNS = (
    "events a day",
    "way",
    "times ours",
    "seconds, median (least to most)",
    "CPU s",
    "rows written / differing",
    "MB written",
    "MB shuffled",
    "files touched",
)


def _heading() -> list[str]:
    return [f"| {' | '.join(_COLUMNS)} |", "| --- " * len(_COLUMNS) + "|"]


def _rows(events: int, runs: Mapping[str, list[Run]]) -> list[str]:
    ours = median_wall(runs[_OWN])
    return [f"| {events:,} | {way} | {' | '.join(_numbers(found, ours))} |" for way, found in runs.items()]


def _numbers(found: list[Run], ours: float) -> tuple[str, ...]:
    counted = found[-1]["counted"]
    return (
        f"{median_wall(found) / ours:.2f}",
        reports.seconds_of(found),
        f"{max(one['cpu'] for one in found):.1f}",
        f"{counted['rows written'] / counted['rows that differ']:.2f}",
        f"{counted['MB written']:.1f}",
        f"{counted['MB shuffled']:.1f}",
        f"{counted['files touched']}",
    )


if __name__ == "__main__":
    main()
