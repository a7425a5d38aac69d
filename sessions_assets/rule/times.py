"""Times as delivered: texts, numbers since 1970, and times of a zone, as points in time.

Columns in, columns out. Must not know file formats, Delta, paths, Dagster, or which events are late.
Source of the rules: R6 (cut to the microsecond), R10 (text), R26 (units and zones).
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.input_format import POWERS_OF_TEN, TEXT, UTC, InputFormat

# A date, a time of day, and optionally an offset. Spark's own cast also accepts "2025" as a date, "10:00" as that time
# today, and the name of a time zone, in which one hour a year is ambiguous.
_HOUR_AND_MINUTE = r"^\s*\d{4}-\d{1,2}-\d{1,2}[ T]\d{1,2}:\d{1,2}"
_OFFSET = r"( ?(Z|UTC|GMT|[+-](\d{4}|\d{1,2}(:\d{2})?)))?\s*$"
_WITH_SECONDS = rf"{_HOUR_AND_MINUTE}:\d{{1,2}}(\.\d+)?{_OFFSET}"
_WITHOUT_SECONDS = rf"{_HOUR_AND_MINUTE}{_OFFSET}"
_HAS_OFFSET = r":[\d.]+ ?([A-Z]|[+-]\d)"

# Of at most 40 digits before the point, and an exponent of three: a number of any more is no time, and costs as much.
_NUMBER = r"^\s*([+-]?(?:\d{1,40}(?:\.\d*)?|\.\d+))(?:[eE]([+-]?\d{1,3}))?\s*$"
_DECIMALS = 18

# What other programs can show in any time zone: Python, for one, knows no year but 1 to 9999.
_FIRST_TIME, _LAST_TIME = "0001-01-02 00:00:00", "9999-12-30 23:59:59.999999"
_LAST_MICROSECOND = 253_402_300_799_999_999
_FIRST_MICROSECOND = -62_135_596_800_000_000
"""Of the years 1 to 9999, since 1970."""


def with_event_time(rows: DataFrame, input_format: InputFormat) -> DataFrame:
    """Complete TIMESTAMP `event_time` from the text `timestamp`, where it is NULL; it stays NULL if that is no time.

    A zone other than UTC adds TIMESTAMP `local_time`: the time that a text without an offset shows, as if it was UTC;
    NULL in the other rows.
    """
    text = F.col("timestamp")
    if input_format.timestamp_unit != TEXT:
        time = _of_number(text, POWERS_OF_TEN[input_format.timestamp_unit])
        return rows.withColumn("event_time", F.coalesce("event_time", time))
    if input_format.time_zone == UTC:
        return rows.withColumn("event_time", F.coalesce("event_time", _of_text(text)))
    rows = rows.withColumn("text_time", _of_text(text))
    rows = rows.withColumn("local_time", F.when(~text.rlike(_HAS_OFFSET), F.col("text_time")))
    # Of a time that the zone has twice the earlier one; one that it has not is later by the gap.
    of_zone = F.to_utc_timestamp("local_time", input_format.time_zone)
    return rows.withColumn("event_time", F.coalesce("event_time", of_zone, "text_time")).drop("text_time")


def _of_text(text: Column) -> Column:
    # The cast takes no offset behind a time without seconds.
    with_seconds = F.regexp_replace(text, rf"({_HOUR_AND_MINUTE})", "$1:00")
    return F.when(text.rlike(_WITH_SECONDS), text.try_cast("timestamp")).when(
        text.rlike(_WITHOUT_SECONDS), with_seconds.try_cast("timestamp")
    )


def _of_number(text: Column, power: int) -> Column:
    """Return a number of a unit since 1970 as a time: whole or decimal, cut to the microsecond (R26)."""
    # Digits that a decimal would round are cut before.
    number = F.regexp_replace(F.regexp_extract(text, _NUMBER, 1), rf"(\.\d{{{_DECIMALS + power}}})\d+", "$1")
    exponent = F.coalesce(F.regexp_extract(text, _NUMBER, 2).try_cast("int"), F.lit(0)) + power
    micros = F.concat(number, F.lit("E"), exponent.cast("string")).try_cast(f"decimal(38, {_DECIMALS})")
    within = F.greatest(F.least(F.floor(micros), F.lit(_LAST_MICROSECOND)), F.lit(_FIRST_MICROSECOND))
    return F.when(micros.isNotNull(), F.timestamp_micros(within.cast("bigint")))


def within_four_digits(time: Column) -> Column:
    """Return a time of the years 1 to 9999: the nearest one to a time that is not."""
    first, last = F.lit(_FIRST_TIME).cast("timestamp"), F.lit(_LAST_TIME).cast("timestamp")
    return F.when(time < first, first).when(time > last, last).otherwise(time)
