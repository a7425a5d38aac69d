"""Events: their columns, and how a delivered row becomes an event or is refused with a reason.

DataFrame in, DataFrame out. Must not know file formats, Delta, paths or Dagster.
Source of the rules: R1 (identity), R7 (keys), R8 (bad rows), R11 to R13 (lateness).
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.input_format import OWN_FORMAT, InputFormat
from sessions_assets.rule.times import with_event_time, within_four_digits

KEY_COLUMNS = ("user_id", "product_code")
IDENTITY_COLUMNS = ("user_id", "event_id", "product_code", "timestamp")
ARRIVAL_DAY = "_updated_at"

LATENESS_DAYS = 5
"""N: an event may arrive this many calendar days after its date (R11)."""

CLOCK_AHEAD_DAYS = 1
"""An event may be dated this many days after its arrival, for clocks that run ahead (R11)."""

WHITE_SPACE = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
"""What a text may have at its edges and still look the same, that of Unicode too."""

INVALID_UTF8 = "invalid_utf8"
UNPARSABLE_ROW = "unparsable_row"
BLANK_TIMESTAMP = "blank_timestamp"
UNPARSABLE_TIMESTAMP = "unparsable_timestamp"
PARSE_ERRORS = (INVALID_UTF8, UNPARSABLE_ROW)
"""Reasons of a row that has no values: judging it again keeps them."""
TOO_LATE = "too_late"
FUTURE = "future"


def typed(rows: DataFrame, lateness_days: int, input_format: InputFormat = OWN_FORMAT) -> DataFrame:
    """Return delivered rows with their types, and for each the reason if it is refused (R7, R8, R10 to R13, R26).

    Args:
        rows: strings `user_id`, `event_id`, `product_code`, `timestamp`; TIMESTAMP `event_time`, NULL unless the file
            stores the timestamp as a point in time; `parse_error`, the reason why the row cannot be parsed, or NULL;
            DATE `_updated_at`; any other column is kept.
        lateness_days: N, in calendar days.
        input_format: unit and zone of the texts.

    Returns:
        The same rows with `timestamp` as TIMESTAMP (microseconds, UTC), `timestamp_text`, the text from which it was
        read (R23), and `reason`, NULL for an event. A fraction finer than a microsecond is cut off (R6). A time that
        is not within the years 1 to 9999, which no event can have, becomes the nearest that is. If the zone is not
        UTC, `local_time` too, as `with_event_time` adds it.
    """
    rows = with_event_time(rows, input_format)
    return rows.select(
        *[column for column in rows.columns if column not in {"timestamp", "event_time", "parse_error"}],
        within_four_digits(F.col("event_time")).alias("timestamp"),
        F.col("timestamp").alias("timestamp_text"),
        F.coalesce(
            F.col("parse_error"),
            *[F.when(is_blank(c), F.lit(f"blank_{c}")) for c in IDENTITY_COLUMNS if c != "timestamp"],
            F.when(F.col("event_time").isNull() & is_blank("timestamp"), F.lit(BLANK_TIMESTAMP)),
            F.when(F.col("event_time").isNull(), F.lit(UNPARSABLE_TIMESTAMP)),
            lateness_reason(F.to_date("event_time"), F.col(ARRIVAL_DAY), lateness_days),
        ).alias("reason"),
    )


def quoted(name: str) -> str:
    """Return a column's name as SQL takes it."""
    return f"`{name.replace('`', '``')}`"


def lateness_reason(event_date: Column, arrival_day: Column, lateness_days: int) -> Column:
    """Return the reason why an event of this date may not arrive on this day, or NULL (R11, R12, R13)."""
    days_late = F.date_diff(arrival_day, event_date)
    is_too_late = days_late > lateness_days
    is_future = days_late < -CLOCK_AHEAD_DAYS
    return F.when(is_too_late, F.lit(TOO_LATE)).when(is_future, F.lit(FUTURE))


def is_blank(column: str) -> Column:
    """Return whether a text is missing, empty or only white space (R8)."""
    # (?U): white space of Unicode too, not only that of ASCII.
    return F.col(column).isNull() | ~F.col(column).rlike(r"(?U)\S")
