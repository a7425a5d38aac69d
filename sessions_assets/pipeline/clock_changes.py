"""Clock changes: the local times that a zone has twice, or not at all, and how many rows of each day have one.

Must not know files, Delta, Dagster or the environment.
Source of the rules: R26.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from typing import Any

from pyspark.errors import DateTimeException
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.events import ARRIVAL_DAY, CLOCK_AHEAD_DAYS

# No zone is further from UTC; and an event is at most that much before or after its date there.
_MARGIN = timedelta(days=2)

KINDS = ("ambiguous", "missing")
"""Of local times: the zone has it twice, or not at all."""


@dataclass(frozen=True)
class ClockChange:
    """A change of a zone's offset.

    Attributes:
        at: when it is.
        first: the first local time that the zone has twice, or not at all, as text.
        end: the first one after it of which that is not so.
        kind: one of `KINDS`.
    """

    at: datetime
    first: str
    end: str
    kind: str


class ZoneError(Exception):
    """A time zone that the Java of Spark does not know. Names it, and its setting."""


def check_zone(spark: SparkSession, time_zone: str) -> None:
    """Make sure that Spark can convert the local times of a zone.

    Raises:
        ZoneError: it cannot.
    """
    try:
        _rules(spark, time_zone)
    except DateTimeException as error:
        problem = "the Java that runs Spark does not know this zone, or not yet"
        raise ZoneError(f"SESSIONS_TIME_ZONE={time_zone!r}: {problem}") from error


def _rules(spark: SparkSession, time_zone: str) -> Any:  # noqa: ANN401 - a Java object
    java: Any = spark._jvm  # noqa: SLF001 - Spark has no call that tells the changes of a zone
    return java.org.apache.spark.sql.catalyst.util.DateTimeUtils.getZoneId(time_zone).getRules()


def counts_of_odd_times(
    spark: SparkSession, time_zone: str, days: Collection[date], lateness_days: int
) -> dict[tuple[date, str], Column]:
    """Return for arrival days how to count the accepted rows with an odd `local_time`, where the days can have any.

    Returns:
        By day and one of `KINDS` an aggregate over rows as `rule.events.typed` returns them.
    """
    is_accepted = F.col("reason").isNull()
    before, after = _MARGIN + timedelta(days=lateness_days), _MARGIN + timedelta(days=CLOCK_AHEAD_DAYS)
    changes = list(_changes(spark, time_zone, _midnight(min(days)) - before, _midnight(max(days)) + after))
    return {
        (day, kind): F.count_if(
            is_accepted & (F.col(ARRIVAL_DAY) == F.lit(day)) & reduce(Column.__or__, map(_is_odd, found))
        )
        for day in days
        for kind, found in _by_kind(c for c in changes if -before <= c.at - _midnight(day) <= after).items()
    }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _by_kind(changes: Iterable[ClockChange]) -> Mapping[str, list[ClockChange]]:
    found: dict[str, list[ClockChange]] = {}
    for change in changes:
        found.setdefault(change.kind, []).append(change)
    return found


def _is_odd(change: ClockChange) -> Column:
    first, end = (F.lit(text).cast("timestamp") for text in (change.first, change.end))
    return (F.col("local_time") >= first) & (F.col("local_time") < end)


def _changes(spark: SparkSession, time_zone: str, begin: datetime, end: datetime) -> Iterator[ClockChange]:
    """Return the changes between two times, as the rules of Java, by which Spark converts times, have them."""
    java: Any = spark._jvm  # noqa: SLF001 - as in `_rules`
    rules = _rules(spark, time_zone)
    instant = java.java.time.Instant.ofEpochSecond(int(begin.timestamp()))
    while (found := rules.nextTransition(instant)) is not None:
        instant = found.getInstant()
        at = datetime.fromtimestamp(instant.getEpochSecond(), UTC)
        if at > end:
            return
        local = sorted(str(shown.toString()) for shown in (found.getDateTimeBefore(), found.getDateTimeAfter()))
        yield ClockChange(at, local[0], local[1], KINDS[found.isGap()])
