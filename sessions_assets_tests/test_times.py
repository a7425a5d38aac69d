"""Times as delivered: numbers of a unit, and local times of a zone, are points in time (R26)."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from random import Random

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from sessions_assets.pipeline.clock_changes import KINDS, ZoneError, check_zone, counts_of_odd_times
from sessions_assets.rule.input_format import POWERS_OF_TEN, InputFormat
from sessions_assets.rule.times import with_event_time
from sessions_assets.settings import time_zones
from sessions_assets_tests.pages import Page, plain

FIRST, LAST = datetime.min, datetime.max  # noqa: DTZ901 - naive times mean UTC here
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive times mean UTC here
AT = datetime(2025, 3, 10, 10)  # noqa: DTZ001
HALF = timedelta(microseconds=500_000)
TICK = timedelta(microseconds=1)


def times_of(spark: SparkSession, input_format: InputFormat, texts: Sequence[str | None]) -> list[datetime | None]:
    """Read texts as times, in their order."""
    rows = spark.createDataFrame([*enumerate(texts)], "n int, timestamp string").coalesce(1)
    rows = with_event_time(rows.withColumn("event_time", F.lit(None).cast("timestamp")), input_format)
    found = rows.select("n", F.unix_micros("event_time").alias("micros")).orderBy("n").collect()
    return [None if row.micros is None else EPOCH + row.micros * TICK for row in found]


# A number of a unit, and the time that it is; None: it is no time.
NUMBERS = {
    "s": {
        "1741600800": AT,
        "1741600800.5": AT + HALF,
        " 1741600800 ": AT,
        "+1741600800.": AT,
        "1.7416008E9": AT,
        "1.7416008005e+9": AT + HALF,
        "17416008e2": AT,
        "1741600799.9999999999999999999999999999": AT - TICK,
        "-0.0000001": EPOCH - TICK,
        ".5": EPOCH + HALF,
        "-1": EPOCH - timedelta(seconds=1),
        "0": EPOCH,
        "-62135596800": datetime(1, 1, 1),  # noqa: DTZ001
        "253402300799.999999": LAST,
        "253402300800": LAST,
        "-1e12": FIRST,
        "1e19": None,
        "1e-400": EPOCH,
        "1e-999999999": None,
        "1" + 50 * "0": None,
        "2025-03-10 10:00:00": None,
        "NaN": None,
        "0x10": None,
        "1_000": None,
        "1 000": None,
        "": None,
        "-": None,
        ".": None,
    },
    "ms": {"1741600800000": AT, "1741600800000.9999": AT + 999 * TICK, "1.7416008E12": AT},
    "us": {"1741600800000000": AT, "1741600800000000.9": AT, "-0.1": EPOCH - TICK},
    "ns": {
        "1741600800000000000": AT,
        "1741600800000000999": AT,
        "1741600800000001000": AT + TICK,
        "-1": EPOCH - TICK,
        "1.7416008E18": AT,
    },
}


@pytest.mark.parametrize("unit", NUMBERS)
def test_a_number_of_a_unit_is_a_time(unit: str, spark: SparkSession) -> None:
    found = times_of(spark, InputFormat(timestamp_unit=unit, time_zone="Europe/Berlin"), [*NUMBERS[unit], None])
    assert dict(zip(NUMBERS[unit], found, strict=False)) == NUMBERS[unit]
    assert found[-1] is None


@pytest.mark.parametrize("unit", POWERS_OF_TEN)
def test_any_number_is_cut_to_the_microsecond(unit: str, spark: SparkSession) -> None:
    """As exact decimal arithmetic has it, whatever the digits, the sign and the exponent."""
    rng = Random(26)  # noqa: S311 - repeatable, not secret
    numbers = {
        f"{rng.choice(('', '-'))}{rng.randrange(10 ** rng.randint(1, 7))}.{rng.randrange(10 ** rng.randint(1, 12))}"
        f"{rng.choice(('', 'e3', 'E-2', 'e+1'))}"
        for _ in range(300)
    }
    in_micros = {n: Decimal(n).scaleb(POWERS_OF_TEN[unit]).to_integral_value(ROUND_FLOOR) for n in sorted(numbers)}
    found = times_of(spark, InputFormat(timestamp_unit=unit), [*in_micros])
    assert dict(zip(in_micros, found, strict=True)) == {n: EPOCH + int(m) * TICK for n, m in in_micros.items()}


# Of a zone local times, each with the time in UTC that it is.
LOCAL_TIMES = {
    "Europe/Berlin": {
        "2025-03-30 01:59:59.999999": "2025-03-30T00:59:59.999999",
        # Not there: later by the gap of one hour.
        "2025-03-30 02:00:00": "2025-03-30T01:00:00",
        "2025-03-30 02:30": "2025-03-30T01:30:00",
        "2025-03-30 03:00:00": "2025-03-30T01:00:00",
        "2025-10-26 01:59:59": "2025-10-25T23:59:59",
        # There twice: the earlier one, in summer time.
        "2025-10-26 02:00:00": "2025-10-26T00:00:00",
        "2025-10-26 02:59:59.999999": "2025-10-26T00:59:59.999999",
        "2025-10-26 03:00:00": "2025-10-26T02:00:00",
        # With an offset the zone does not matter.
        "2025-10-26 02:30:00+01:00": "2025-10-26T01:30:00",
        "2025-10-26 02:30 Z": "2025-10-26T02:30:00",
        "2025-10-26T02:30:00.5 UTC": "2025-10-26T02:30:00.500000",
        "2025-03-10T00:30:00-0330": "2025-03-10T04:00:00",
    },
    "America/New_York": {
        "2025-03-09 01:59:59": "2025-03-09T06:59:59",
        "2025-03-09 02:30:00": "2025-03-09T07:30:00",
        "2025-03-09 03:00:00": "2025-03-09T07:00:00",
        "2025-11-02 01:00:00": "2025-11-02T05:00:00",
        "2025-11-02 01:59:59": "2025-11-02T05:59:59",
        "2025-11-02 02:00:00": "2025-11-02T07:00:00",
    },
    "Asia/Kolkata": {"2025-03-10 00:00:00": "2025-03-09T18:30:00"},
    # Half an hour off, and clocks that change by half an hour.
    "Australia/Lord_Howe": {
        "2025-04-06 01:29:59": "2025-04-05T14:29:59",
        "2025-04-06 01:30:00": "2025-04-05T14:30:00",
        "2025-04-06 02:00:00": "2025-04-05T15:30:00",
        "2025-10-05 01:59:59": "2025-10-04T15:29:59",
        "2025-10-05 02:15:00": "2025-10-04T15:45:00",
        "2025-10-05 02:30:00": "2025-10-04T15:30:00",
    },
}


@pytest.mark.parametrize("zone", LOCAL_TIMES)
def test_a_local_time_is_that_of_its_zone(zone: str, spark: SparkSession) -> None:
    texts = LOCAL_TIMES[zone]
    found = times_of(spark, InputFormat(time_zone=zone), [*texts, "2025-02-30 10:00:00", None])
    assert [time and time.isoformat() for time in found] == [*texts.values(), None, None]


# Of a zone and an arrival day, how many of its local times are ambiguous and missing.
ODD_TIMES = [
    ("Europe/Berlin", "2025-10-26", {"ambiguous": 2}),
    ("Europe/Berlin", "2025-10-31", {"ambiguous": 2}),
    ("Europe/Berlin", "2025-10-25", {"ambiguous": 2}),
    ("Europe/Berlin", "2025-11-10", {}),
    ("Europe/Berlin", "2025-03-30", {"missing": 2}),
    ("America/New_York", "2025-11-02", {"ambiguous": 2}),
    ("America/New_York", "2025-03-09", {"missing": 1}),
    ("Australia/Lord_Howe", "2025-04-06", {"ambiguous": 1}),
    ("Australia/Lord_Howe", "2025-10-05", {"missing": 1}),
    ("Asia/Kolkata", "2025-03-10", {}),
]


@pytest.mark.parametrize(("zone", "day", "expected"), ODD_TIMES)
def test_local_times_that_a_zone_has_twice_or_not_are_counted(
    zone: str, day: str, expected: dict[str, int], spark: SparkSession
) -> None:
    """Only accepted rows without an offset, and only on days whose events may be near a change of the clocks."""
    arrival = date.fromisoformat(day)
    counts = counts_of_odd_times(spark, zone, [arrival], 5)
    texts = [(text, reason) for text in LOCAL_TIMES[zone] for reason in (None, "blank_user_id")]
    rows = spark.createDataFrame(texts, "timestamp string, reason string")
    rows = rows.withColumns({"event_time": F.lit(None).cast("timestamp"), "_updated_at": F.lit(arrival)})
    named = [count.alias(kind) for (_, kind), count in counts.items()]
    found = with_event_time(rows, InputFormat(time_zone=zone)).agg(F.count("*"), *named).collect()[0].asDict()
    assert {kind: found[kind] for kind in KINDS if kind in found} == expected


@pytest.mark.parametrize("setting", ["unit", "zone"])
def test_the_times_on_the_page_are_those_stored(setting: str, spark: SparkSession) -> None:
    listed: dict[str, dict[str, str]] = {}
    for name, text, time in Page("docs/input.md").rows(setting, "as delivered", "as stored, UTC"):
        listed.setdefault(plain(name), {})[plain(text)] = plain(time)
    for name, texts in listed.items():
        found = times_of(spark, InputFormat(**{_FIELDS[setting]: name}), [*texts])
        assert found == [
            datetime.fromisoformat(time.ljust(26, "0") if "." in time else time) for time in texts.values()
        ]


_FIELDS = {"unit": "timestamp_unit", "zone": "time_zone"}


def test_spark_knows_every_zone_that_a_setting_may_name(spark: SparkSession) -> None:
    unknown: set[str] = set()
    for zone in sorted(time_zones()):
        try:
            check_zone(spark, zone)
        except ZoneError:
            unknown.add(zone)
    # A zone of the year 2025: a Java from before it does not know it, and a run is refused.
    assert unknown <= {"America/Coyhaique"}


def test_a_zone_that_java_does_not_know_is_named_with_its_setting(spark: SparkSession) -> None:
    with pytest.raises(ZoneError, match="SESSIONS_TIME_ZONE='Atlantis': the Java that runs Spark does not know"):
        check_zone(spark, "Atlantis")
