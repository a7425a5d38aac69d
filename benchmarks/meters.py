"""What is measured of a piece of work: wall and CPU seconds, peak memory, and what Spark and Delta count."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

_TICKS_PER_SECOND = 100


@dataclass
class Measured:
    """The numbers of one piece of work; memory in MiB, of Python and its JVM together."""

    wall: float = 0.0
    cpu: float = 0.0
    peak_mib: float = 0.0
    counted: dict[str, float] = field(default_factory=dict)


@contextmanager
def measured() -> Iterator[Measured]:
    """Measure what happens inside, in this process and in the JVM that it has started."""
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


def counted_by_spark(spark: SparkSession, work: Callable[[], object]) -> dict[str, float]:
    """Do some work; give the number of Spark jobs and the bytes that its stages read and shuffled."""
    store: Any = spark.sparkContext._jsc.sc().statusStore()  # noqa: SLF001 - there is no public way to it
    before = {job.jobId() for job in _listed(store.jobsList(None))}
    work()
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()  # noqa: SLF001
    jobs = [job for job in _listed(store.jobsList(None)) if job.jobId() not in before]
    stages = {stage for job in jobs for stage in _listed(job.stageIds())}
    details = [store.lastStageAttempt(stage) for stage in stages]
    done = [stage for stage in details if stage.status().toString() == "COMPLETE"]
    return {
        "spark jobs": len(jobs),
        "MB read": sum(stage.inputBytes() for stage in done) / 1e6,
        "MB shuffled": sum(stage.shuffleWriteBytes() for stage in done) / 1e6,
        "MB spilled": sum(stage.diskBytesSpilled() for stage in done) / 1e6,
    }


def _listed(sequence: Any) -> list[Any]:  # noqa: ANN401 - a Scala sequence
    return [sequence.apply(position) for position in range(sequence.size())]


def as_json(found: Measured) -> str:
    """Write it down."""
    return json.dumps(vars(found))
