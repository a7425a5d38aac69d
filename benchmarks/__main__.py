"""Measure all rivals on the same events in one run, each checked row by row first; write a table and a plot.

Usage: python -m benchmarks [--days 30] [--events 20000] [--repeats 3] [--output benchmarks/results]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import matplotlib as mpl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

from benchmarks.events import Shape, write_batches
from benchmarks.rivals import RIVALS, RULE
from sessions_assets_tests.reference import Event, expected_table

mpl.use("Agg")

COLUMNS = (
    "user_id, event_id, product_code, epoch_us(timestamp) AS timestamp, is_user_action, session_id, "
    "epoch_us(session_start) AS session_start, CAST(first_updated_at AS DATE) AS first_updated_at, pdate"
)
# So many users are compared with the plain-Python reference.
CHECKED_USERS = 25


def main() -> None:
    """Make the events, measure, check, write."""
    arguments = _arguments()
    shape = Shape(days=arguments.days, events_per_day=arguments.events, users=max(arguments.events // 20, 50))
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        folder = Path(temporary)
        rows = write_batches(folder / "landing", shape, seed=arguments.seed)
        started = time.perf_counter()
        _run("benchmarks.history", str(folder))
        print(f"{rows} rows, {shape.days} days; history applied in {time.perf_counter() - started:.0f} s", flush=True)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in RIVALS}
        for number in range(arguments.repeats):
            # Side by side, so that a noisy minute of the machine meets all of them.
            for name in RIVALS:
                found[name] += [json.loads(line) for line in _run("benchmarks.rivals", name, str(folder), "1")]
                print(f"{number + 1} {name}: {found[name][-1]['wall']:.2f} s", flush=True)
        _check(folder)
        floor = _floor(folder)
        _write(Path(arguments.output), shape, found, floor)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", help="folder for the data; default: where temporary files are")
    parser.add_argument("--output", default="benchmarks/results")
    return parser.parse_args()


def _run(module: str, *arguments: str) -> list[str]:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if line.startswith("{")]


# --- All come to the same table


def _rows_of(folder: Path, name: str) -> str:
    """Give a query for the rows of a rival's table."""
    place = folder / "results" / name
    for table in (place / "ods_sessions", place):
        if (table / "_delta_log").is_dir():
            file = folder / f"{name}.parquet"
            read = QueryBuilder().register("ods", DeltaTable(str(table))).execute("SELECT * FROM ods").read_all()
            pq.write_table(pa.table(read), file)
            return f"SELECT {COLUMNS} FROM read_parquet('{file}')"
    return f"SELECT {COLUMNS} FROM read_parquet('{place}')"


def _check(folder: Path) -> None:
    """Compare each table with DuckDB's in both directions, and DuckDB's with the reference for some users."""
    base = _rows_of(folder, "DuckDB, all anew")
    for name in RIVALS:
        other = _rows_of(folder, name)
        for one, two in ((base, other), (other, base)):
            query = f"SELECT count(*) FROM (({one}) EXCEPT ALL ({two}))"
            ((differing,),) = duckdb.sql(query).fetchall()
            if differing:
                raise SystemExit(f"{name}: {differing} rows differ from those of DuckDB")
    users = ", ".join(f"'u{number}'" for number in range(CHECKED_USERS))
    chosen = f"WHERE user_id IN ({users})"
    stored = duckdb.sql(f"SELECT * FROM ({base}) {chosen}").fetchall()
    delivered: dict[tuple[str, str], dict[date, list[Event]]] = {}
    for file in sorted((folder / "landing").glob("*.parquet")):
        four = "user_id, event_id, product_code, make_timestamp(epoch_us(timestamp))"
        query = f"SELECT {four} FROM read_parquet('{file}') {chosen}"
        for row in duckdb.sql(query).fetchall():
            held = delivered.setdefault((row[0], row[2]), {})
            held.setdefault(date.fromisoformat(file.stem), []).append(Event(*row))
    expected = [row for held in delivered.values() for row in expected_table(held, RULE.timeout, frozenset("abc"))]
    plain = [(*row[:3], _micros(row.timestamp), *row[4:6], _micros(row.session_start), *row[7:]) for row in expected]
    if sorted(plain, key=str) != sorted(stored, key=str):
        raise SystemExit("the rows of DuckDB are not those of the reference")
    print(f"all {len(RIVALS)} tables are the same; {len(plain)} rows of them are those of the reference", flush=True)


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - datetime(1970, 1, 1)) // (datetime.resolution)  # noqa: DTZ001 - UTC


# --- What comes out


def _floor(folder: Path) -> float:
    """Time what no way can do without: read the last batch, and write as many rows of a table."""
    last = max((folder / "landing").glob("*.parquet"))
    started = time.perf_counter()
    pq.write_table(pq.read_table(last), folder / "floor.parquet")
    return time.perf_counter() - started


def _write(output: Path, shape: Shape, found: dict[str, list[dict[str, Any]]], floor: float) -> None:
    output.mkdir(parents=True, exist_ok=True)
    median = {name: statistics.median(one["wall"] for one in runs) for name, runs in found.items()}
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyspark", "delta-spark", "duckdb", "polars"))
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {versions}"
    events = f"{shape.events_per_day:,} events a day, {shape.days} days, {shape.late:.0%} late, {shape.users:,} users"
    lines = [f"{events}; {machine}. Physical floor: {floor:.2f} s.", ""]
    lines += ["| way | times ours | seconds, median (least to most) | CPU s | peak MiB | counts |", "| --- " * 6 + "|"]
    for name, runs in found.items():
        walls = [one["wall"] for one in runs]
        last = runs[-1]
        counts = ", ".join(f"{what}: {number:,.0f}" for what, number in last["counted"].items())
        seconds = f"{median[name]:.2f} ({min(walls):.2f} to {max(walls):.2f})"
        numbers = (f"{median[name] / median['ours']:.2f}", seconds, f"{last['cpu']:.1f}", f"{last['peak_mib']:,.0f}")
        lines.append(f"| {' | '.join((name, *numbers, counts))} |")
    text = "\n".join(lines) + "\n"
    name = f"{shape.days}x{shape.events_per_day}"
    (output / f"{name}.md").write_text(text)
    print(text)
    _plot(output / f"{name}.png", median, shape)


def _plot(file: Path, median: dict[str, float], shape: Shape) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of no display

    figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
    names = [*median][::-1]
    bars = axes.barh(names, [median[name] / median["ours"] for name in names], color="#4c72b0")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlabel(f"time of one more day, ours = 1 ({shape.days} days of {shape.events_per_day:,} events)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
