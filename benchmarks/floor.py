"""The physical floor of one more day: what no way can do without, done by one core with nothing else around it.

The batch has to be read, and the stored rows that become others; the rows that are new or others have to be written.
"""

import time
from pathlib import Path

import pyarrow.parquet as pq


def floor(batch: Path, gone: Path, came: Path, written: Path) -> dict[str, float]:
    """Time it.

    Args:
        batch: the file of the last day.
        gone: the stored rows that it replaced, as Parquet.
        came: the rows that stand there now.
        written: where those are written to.
    """
    rows = pq.read_table(came)  # untimed: the program that computed them has them
    found: dict[str, float] = {"rows read": 0, "rows written": rows.num_rows}
    started = time.perf_counter()
    for name, file in (("read the batch", batch), ("read stored rows", gone)):
        found["rows read"] += pq.read_table(file, use_threads=False).num_rows
        found[name] = time.perf_counter() - started
        started = time.perf_counter()
    pq.write_table(rows, written)
    found["write rows"] = time.perf_counter() - started
    found["seconds"] = found["read the batch"] + found["read stored rows"] + found["write rows"]
    return found
