"""What a comparison of all rivals leaves: its runs as JSON, two Markdown tables and a plot."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.events import Shape
from benchmarks.processes import Run, median_wall
from benchmarks.rivals import OURS

mpl.use("Agg")

Runs = Mapping[str, Sequence[Run]]


def name_of(days: int, events: int) -> str:
    """Return the name of the files of a comparison, made of its size."""
    return f"{days}x{events}"


def write(output: Path, shape: Shape, seed: int, runs: Runs, floor: Mapping[str, float]) -> None:
    """Write all of it, and print the tables."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / name_of(shape.days, shape.events_per_day)
    stored = {"shape": asdict(shape), "seed": seed, "machine": machine(), "floor": dict(floor), "runs": dict(runs)}
    path.with_suffix(".json").write_text(json.dumps(stored, indent=1))
    text = "\n".join([*_heading(shape, floor), "", *_seconds(runs), "", *_counts(runs), ""])
    path.with_suffix(".md").write_text(text)
    print(text)
    _plot(path.with_suffix(".png"), {name: median_wall(found) for name, found in runs.items()}, shape)


def machine() -> str:
    """Return a description of the machine."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyspark", "delta-spark", "duckdb", "polars"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {load}, Python {platform.python_version()}, {versions}"


def _heading(shape: Shape, floor: Mapping[str, float]) -> list[str]:
    events = f"{shape.events_per_day:,} events a day, {shape.days} days, {shape.late:.0%} late, {shape.users:,} users"
    parts = ", ".join(f"{name} {floor[name]:.3f} s" for name in ("read the batch", "read stored rows", "write rows"))
    rows = f"{floor['rows read']:,} rows read, {floor['rows written']:,} written"
    return [f"{events}; {machine()}.", "", f"Physical floor: {floor['seconds']:.3f} s ({parts}; {rows})."]


def _seconds(runs: Runs) -> list[str]:
    lines = ["| way | times ours | seconds, median (least to most) | CPU s | peak MiB |", "| --- " * 5 + "|"]
    ours = median_wall(runs[OURS])
    for name, found in runs.items():
        median, seconds = median_wall(found), seconds_of(found)
        cpu, peak = (max(one[what] for one in found) for what in ("cpu", "peak_mib"))
        lines.append(f"| {name} | {median / ours:.2f} | {seconds} | {cpu:.1f} | {peak:,.0f} |")
    return lines


def seconds_of(runs: Sequence[Run]) -> str:
    """Return median, minimum and maximum of the seconds as text."""
    walls = [one["wall"] for one in runs]
    return f"{median_wall(runs):.2f} ({min(walls):.2f} to {max(walls):.2f})"


def _counts(runs: Runs) -> list[str]:
    """Return the counts of the last run of each way that counts."""
    counted: dict[str, dict[str, Any]] = {name: found[-1]["counted"] for name, found in runs.items()}
    names = [name for name in runs if counted[name]]
    lines = [f"| counted | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
    for what in dict.fromkeys(what for name in names for what in counted[name]):
        numbers = [_shown(counted[name].get(what)) for name in names]
        lines.append(f"| {what} | {' | '.join(numbers)} |")
    return lines


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:,}" if isinstance(number, int) else f"{number:,.2f}"


def _plot(file: Path, median: Mapping[str, float], shape: Shape) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of no display

    figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
    names = [*median][::-1]
    bars = axes.barh(names, [median[name] / median[OURS] for name in names], color="#4c72b0")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlabel(f"time of one more day, ours = 1 ({shape.days} days of {shape.events_per_day:,} events)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)
