"""How tests put events into batches and read tables back as plain rows."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets.rule.carried import VALUE_COLUMNS
from sessions_assets.rule.events import IDENTITY_COLUMNS
from sessions_assets.rule.session_rule import SESSION_COLUMNS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event, Row, values_of

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive times mean UTC here, as in the reference
DAY_0 = date(2025, 3, 10)


def day(number: int) -> date:
    """Return the arrival day 0, 1, 2, ... of a test."""
    return DAY_0 + timedelta(days=number)


def at(clock: str, number: int = 0) -> datetime:
    """Read a time of day, `10:00` or `10:00:00.000001`, on day 0, 1, 2, ... of a test."""
    return datetime.fromisoformat(f"{day(number)}T{clock}")


def event(event_id: str, clock: str, number: int = 0, *, user: str = "u", product: str = "I") -> Event:
    """Return an event, with defaults for the values that do not matter."""
    return Event(user, event_id, product, at(clock, number))


def write_batches(landing: Path, batches: Mapping[date, Iterable[Event]], attributes: Sequence[str] = ()) -> None:
    """Write batches as csv files, over what a day had before; the events have a value of each attribute."""
    landing.mkdir(exist_ok=True)
    for arrival, events in batches.items():
        with (landing / f"{arrival}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((*IDENTITY_COLUMNS, *attributes))
            writer.writerows((*row[:3], row.timestamp.isoformat(sep=" "), *values_of(row)) for row in events)


def frame(spark: SparkSession, rows: Iterable[tuple[Event, date]]) -> DataFrame:
    """Return accepted rows, each with its arrival day."""
    values = [(*row, arrival) for row, arrival in rows]
    values = [(*v[:3], v[3].replace(tzinfo=UTC), v[4]) for v in values]
    columns = "user_id string, event_id string, product_code string, timestamp timestamp, _updated_at date"
    return spark.createDataFrame(values, columns)


def without_values(rows: DataFrame) -> DataFrame:
    """Return rows of ods_sessions that carry nothing."""
    return rows.withColumns({name: F.lit(None) for name in VALUE_COLUMNS})


def session_rows(table: DataFrame) -> list[Row]:
    """Collect rows of ods_sessions, sorted; times by their microseconds, whatever this machine's time zone is."""
    times = [F.unix_micros(c).alias(c) if c in {"timestamp", "session_start"} else F.col(c) for c in SESSION_COLUMNS]
    rows = (Row(*row) for row in table.select(*times).collect())
    return sorted(
        row._replace(timestamp=_moment(row.timestamp), session_start=_moment(row.session_start)) for row in rows
    )


def stored_rows(lake: Lake, version: int | None = None) -> list[Row]:
    """Read the whole table ods_sessions, sorted."""
    return sorted(Row(*row) for row in lake.rows(ODS_SESSIONS, ", ".join(SESSION_COLUMNS), version=version))


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)
