"""Events to measure with: seeded, in daily batches, with the shares of late, repeated and acting events that are asked.

Timestamps are whole seconds unless a shape asks for finer ones, which not all rivals write into a session id. Ids
hold no character that a session id would escape.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FIRST_DAY = date(2025, 1, 6)
_PRODUCTS = np.array(["I", "II", "III"])
_ACTIONS, _NATIVES = np.array(["a", "b", "c"]), np.array(["x", "y", "z"])
# Seconds between two neighbours of a burst, on average: some gaps are longer than the timeout.
_MEAN_GAP = 80


@dataclass(frozen=True)
class Shape:
    """What the events are like.

    Attributes:
        days: arrival days.
        events_per_day: events dated on each day, before repeats.
        users: distinct users; each acts in three products.
        late: share of events that arrive one to five days after their date.
        repeated: share of events that are delivered once more, in the same or the next batch.
        acting: share of events that are user actions.
        burst: events in one stretch of activity, on average.
        skew: share of all events that belong to one key.
        in_microseconds: timestamps have a fraction of a second: with a crowded key, whole seconds would be one event.
    """

    days: int
    events_per_day: int
    users: int
    late: float = 0.05
    repeated: float = 0.01
    acting: float = 0.4
    burst: int = 12
    skew: float = 0.0
    in_microseconds: bool = False


def arrival_days(shape: Shape) -> list[date]:
    """Return the days with a batch; events that would arrive later are left out."""
    return [FIRST_DAY + timedelta(days=number) for number in range(shape.days)]


def write_batches(folder: Path, shape: Shape, seed: int) -> int:
    """Write one Parquet file for each arrival day; give the number of rows."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pending: dict[date, list[pa.Table]] = {}
    rows = 0
    for day in arrival_days(shape):
        events = _events(rng, shape, day)
        delay = np.where(rng.random(events.num_rows) < shape.late, rng.integers(1, 6, events.num_rows), 0)
        for days in range(6):
            pending.setdefault(day + timedelta(days=days), []).append(events.filter(pa.array(delay == days)))
        again = events.filter(pa.array((delay == 0) & (rng.random(events.num_rows) < shape.repeated)))
        pending.setdefault(day + timedelta(days=int(rng.integers(0, 2))), []).append(again)
        batch = pa.concat_tables(pending.pop(day))
        pq.write_table(batch, folder / f"{day}.parquet")
        rows += batch.num_rows
    return rows


def _events(rng: np.random.Generator, shape: Shape, day: date) -> pa.Table:
    number = shape.events_per_day
    starts = rng.random(number) < 1 / shape.burst
    starts[0] = True
    burst = np.cumsum(starts) - 1
    bursts = burst[-1] + 1
    user, product = rng.integers(0, shape.users, bursts), rng.integers(0, len(_PRODUCTS), bursts)
    if shape.skew:
        is_heavy = rng.random(bursts) < shape.skew
        user, product = np.where(is_heavy, 0, user), np.where(is_heavy, 0, product)
    gaps = np.where(starts, 0, rng.exponential(_MEAN_GAP, number).astype(np.int64))
    total = np.cumsum(gaps)
    first = np.flatnonzero(starts)
    since_start = total - total[first][burst]
    seconds = (rng.integers(0, 86_400, bursts)[burst] + since_start) % 86_400
    fraction = rng.integers(0, 1_000_000, number) if shape.in_microseconds else 0
    micros = (_epoch_seconds(day) + seconds) * 1_000_000 + fraction
    is_action = rng.random(number) < shape.acting
    names = np.where(is_action, rng.choice(_ACTIONS, number), rng.choice(_NATIVES, number))
    return pa.table(
        {
            "user_id": pc.binary_join_element_wise("u", pc.cast(user[burst], pa.string()), ""),
            "event_id": names,
            "product_code": _PRODUCTS[product[burst]],
            "timestamp": pa.array(micros, pa.timestamp("us", tz="UTC")),
        }
    )


def _epoch_seconds(day: date) -> int:
    return (day - date(1970, 1, 1)) // timedelta(seconds=1)
