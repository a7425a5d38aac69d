"""Meters of a piece of work: wall and CPU seconds, peak memory, and what Spark counts.

Spark counts for its pages, which it does with no page served; that is read after the work, outside the seconds.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

_TICKS_PER_SECOND = 100
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_KINDS = ("landing", "raw_events", "ods_sessions")


@dataclass
class Measured:
    """The numbers of one piece of work.

    Attributes:
        wall: seconds.
        cpu: seconds of all cores, of Python and its JVM together.
        peak_mib: peak of Python's memory and peak of its JVM's, added, though they may not fall together.
        counted: what Spark and Delta counted.
        read_version: the version of the table before; None if it is no Delta table.
    """

    wall: float = 0.0
    cpu: float = 0.0
    peak_mib: float = 0.0
    counted: dict[str, float] = field(default_factory=dict)
    read_version: int | None = None

    def as_json(self) -> str:
        """Write it down."""
        return json.dumps(vars(self))


@contextmanager
def measured() -> Iterator[Measured]:
    """Measure what happens inside, in this process and in the JVM that it has started before."""
    found = Measured()
    processes = [Path("/proc/self"), *_children()]
    for process in processes:
        (process / "clear_refs").write_text("5")  # forget the peak so far
    cpu, started = _cpu(processes), time.perf_counter()
    yield found
    found.wall = time.perf_counter() - started
    found.cpu = _cpu(processes) - cpu
    found.peak_mib = sum(_peak_kib(process) for process in processes) / 1024


def _children() -> list[Path]:
    children = Path("/proc/self/task").glob("*/children")
    return [Path("/proc") / pid for file in children for pid in file.read_text().split()]


def _cpu(processes: list[Path]) -> float:
    fields = [(process / "stat").read_text().rpartition(")")[2].split() for process in processes]
    return sum(int(own[11]) + int(own[12]) for own in fields) / _TICKS_PER_SECOND


def _peak_kib(process: Path) -> int:
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measured_on(spark: SparkSession, work: Callable[[], object]) -> Measured:
    """Do some work; measure it, and count what Spark did for it."""
    context: Any = spark.sparkContext._jsc.sc()  # noqa: SLF001 - there is no public way to what Spark counts
    queries: Any = spark._jsparkSession.sharedState().statusStore()  # noqa: SLF001
    # Else the folder that a scan reads would be cut off in what is noted of it.
    spark.conf.set("spark.sql.maxMetadataStringLength", "10000")
    java: Any = spark._jvm  # noqa: SLF001
    metrics = getattr(java.org.apache.spark.metrics.source, "CodegenMetrics$")
    compilations = getattr(metrics, "MODULE$").METRIC_COMPILATION_TIME()
    compiled_before = compilations.getCount()
    jobs_before = {job.jobId() for job in _listed(context.statusStore().jobsList(None))}
    queries_before = {query.executionId() for query in _listed(queries.executionsList())}
    with measured() as found:
        work()
    context.listenerBus().waitUntilEmpty()
    found.counted = _of_jobs(context.statusStore(), jobs_before) | _of_scans(queries, queries_before)
    found.counted["classes compiled"] = compilations.getCount() - compiled_before
    return found


def _of_jobs(store: Any, before: set[int]) -> dict[str, float]:  # noqa: ANN401 - Spark's AppStatusStore
    jobs = [job for job in _listed(store.jobsList(None)) if job.jobId() not in before]
    stages = {stage for job in jobs for stage in _listed(job.stageIds())}
    details = [store.lastStageAttempt(stage) for stage in stages]
    done = [stage for stage in details if stage.status().toString() == "COMPLETE"]
    return {
        "spark jobs": len(jobs),
        "stages": len(done),
        # From files, and from what is cached.
        "rows read": sum(stage.inputRecords() for stage in done),
        "MB read": sum(stage.inputBytes() for stage in done) / 1e6,
        "MB shuffled": sum(stage.shuffleWriteBytes() for stage in done) / 1e6,
        "MB spilled": sum(stage.diskBytesSpilled() for stage in done) / 1e6,
        "MB written": sum(stage.outputBytes() for stage in done) / 1e6,
    }


def _of_scans(store: Any, before: set[int]) -> dict[str, float]:  # noqa: ANN401 - Spark's SQLAppStatusStore
    """Add up the sizes of the Parquet files that were opened, by folder; of a wide file less may have been read."""
    sizes: dict[tuple[str, int], float] = {}
    for query in _listed(store.executionsList()):
        if query.executionId() in before:
            continue
        values = store.executionMetrics(query.executionId())
        for node in _listed(store.planGraph(query.executionId()).allNodes()):
            if not node.name().startswith("Scan parquet"):
                continue
            found = {metric.name(): metric.accumulatorId() for metric in _listed(node.metrics())}
            number = found["size of files read"]
            text = values.get(number)
            if text.isDefined():  # what is cached is shown again by each query that uses it, without a size
                sizes[_kind(node.desc()), number] = _bytes(text.get())
    totals = dict.fromkeys((*_KINDS, "others"), 0.0)
    for (kind, _), size in sizes.items():
        totals[kind] += size / 1e6
    return {f"MB of files in {kind}": size for kind, size in totals.items()}


def _kind(scan: str) -> str:
    """Return the name of the table that a scan reads, by the folder in its description."""
    location = re.search(r"Location: [^\[]*\[([^\]]*)\]", scan)
    folders = location[1].split("/") if location else []
    return next((name for name in _KINDS if name in folders), "others")


def _bytes(text: str) -> float:
    """Read a size as Spark shows it: the first number with a unit is the total."""
    number, unit = re.findall(r"([\d,.]+) ([KMGT]?i?B)\b", text)[0]
    return float(number.replace(",", "")) * _BYTES[unit]


def _listed(sequence: Any) -> list[Any]:  # noqa: ANN401 - a Scala sequence
    return [sequence.apply(position) for position in range(sequence.size())]
