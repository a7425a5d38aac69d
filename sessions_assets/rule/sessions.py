"""Sessions of all events: order, repeats, the session start of each event, and the id of a session.

DataFrame in, DataFrame out. Must not know Delta, paths, Dagster, what day it is, or which rows a run writes.
Source of the rules: R1 to R7, R9, R14 and R15 (the seed), R24 (whose values an event has).

`all_sessions` here and `changes` in `changes.py` bring their rows into one form, the timeline: the rows of a key
(user_id, product_code) in one order, read by the same code. A row of the timeline has

| column                  | meaning                                                                          |
|-------------------------|----------------------------------------------------------------------------------|
| the four event columns  | identity (R1)                                                                    |
| is_user_action          | the event is one of the configured actions                                       |
| arrival                 | an arrival day that holds the event; NULL: no day that this row knows of         |
| is_stored               | the row was read from the stored sessions                                        |
| is_seed                 | a stored action within T before the earliest change: read, never changed (R14)   |
| stored_session_start    | its session start as stored, or NULL                                             |
| stored_first_updated_at | its first arrival day as stored, or NULL                                         |
| carried                 | the values of the carried attributes, see `carried.py`                           |
| kept                    | the values of other columns of the stored row                                    |
| row_address             | file and row index of the stored row; NULL if none is stored                     |
"""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.window import WindowSpec

from sessions_assets.rule.carried import CARRIED, VALUE_COLUMNS
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS
from sessions_assets.rule.session_rule import SESSION_COLUMNS, SessionRule


def in_order() -> WindowSpec:
    """Return the order of a key: time, at one instant the action first, then the event id (R5).

    The rows of one event are next to each other: the stored one first, then by arrival day, then by carried values.
    """
    of_one_event = (F.desc("is_stored"), F.asc_nulls_last("arrival"), CARRIED)
    return Window.partitionBy(*KEY_COLUMNS).orderBy("timestamp", F.desc("is_user_action"), "event_id", *of_one_event)


def before() -> WindowSpec:
    """Return the window of all rows of the key before a row."""
    return in_order().rowsBetween(Window.unboundedPreceding, -1)


def microseconds_between(earlier: str, later: str) -> Column:
    """Return the microseconds from one time to another (R6).

    Not as an interval: Spark would compute that with the calendar, ten times slower.
    """
    return F.unix_micros(later) - F.unix_micros(earlier)


def _until_this_instant() -> WindowSpec:
    # Uses the same sort as `in_order`, but the window of a row includes all rows of its instant.
    return Window.partitionBy(*KEY_COLUMNS).orderBy("timestamp")


def all_sessions(events: DataFrame, rule: SessionRule) -> DataFrame:
    """Return the sessions of all events, computed at once.

    Args:
        events: the four event columns and DATE `_updated_at`; repeats allowed. `VALUE_COLUMNS` if there are any.
        rule: timeouts and user actions.

    Returns:
        One row per distinct event (R1) with `SESSION_COLUMNS` and `VALUE_COLUMNS`.
    """
    return sessionize(delivered_timeline(events, rule), rule).select(*SESSION_COLUMNS, *VALUE_COLUMNS)


def delivered_timeline(rows: DataFrame, rule: SessionRule) -> DataFrame:
    """Return delivered rows, the four event columns, `_updated_at` and `VALUE_COLUMNS`, as rows of the timeline."""
    there = rows.columns
    return rows.select(
        *IDENTITY_COLUMNS,
        rule.is_user_action().alias("is_user_action"),
        F.col(ARRIVAL_DAY).alias("arrival"),
        F.lit(False).alias("is_stored"),
        F.lit(False).alias("is_seed"),
        F.lit(None).cast("timestamp").alias("stored_session_start"),
        F.lit(None).cast("date").alias("stored_first_updated_at"),
        *[F.col(name) if name in there else F.lit(None).alias(name) for name in VALUE_COLUMNS],
        # Without a type: the union takes that of the stored rows.
        F.lit(None).alias("row_address"),
    )


def sessionize(timeline: DataFrame, rule: SessionRule) -> DataFrame:
    """Return one row per event with its session: one shuffle, one sort and two windows (R1 to R6, R9)."""
    events = _one_row_per_event(timeline, rule)
    return with_session_start(events, rule).select(
        *IDENTITY_COLUMNS,
        "is_user_action",
        session_id().alias("session_id"),
        "session_start",
        F.col("least_arrival").alias("first_updated_at"),
        F.to_date("timestamp").alias("pdate"),
        "is_stored",
        "is_seed",
        "is_held",
        "stored_session_start",
        "stored_first_updated_at",
        "stored_session",
        *VALUE_COLUMNS,
        "has_other_values",
        "row_address",
    )


def _one_row_per_event(timeline: DataFrame, rule: SessionRule) -> DataFrame:
    """Return the first row of each event (R1), with the least arrival day that holds it, and its values (R24)."""
    # Of an event that is stored twice by mistake both rows stay: the checks show them.
    arrivals = (F.lead(column).over(in_order()) for column in ("arrival", "stored_first_updated_at"))
    next_arrival = F.when(is_same_event(F.lead), F.coalesce(*arrivals))
    # Of a stored row whose first arrival day is applied again, or is not the least, the next row has the values.
    is_first_day = F.coalesce(F.col("arrival") <= next_arrival, F.col("arrival").isNotNull())
    next_values = F.when(~is_first_day & next_arrival.isNotNull(), F.lead(CARRIED).over(in_order()))
    return (
        timeline.withColumns(
            {
                "repeats_previous": is_same_event(F.lag),
                # A stored row is the first of its event; the next one has the least arrival day that delivered it.
                "least_arrival": F.least("arrival", next_arrival),
                "previous_action": previous_action(),
                "values": F.coalesce(next_values, CARRIED) if rule.carried else F.col(CARRIED),
            }
        )
        .where(~F.col("repeats_previous"))
        .withColumns(
            {
                "is_held": F.col("least_arrival").isNotNull(),
                "has_other_values": ~F.col("values").eqNullSafe(F.col(CARRIED)) if rule.carried else F.lit(False),
                CARRIED: F.col("values"),
            }
        )
    )


def is_same_event(neighbour: Callable[[str], Column]) -> Column:
    """Return whether the row before (`F.lag`) or after (`F.lead`) is the same event (R1)."""
    same_time = F.col("timestamp").eqNullSafe(neighbour("timestamp").over(in_order()))
    return same_time & F.col("event_id").eqNullSafe(neighbour("event_id").over(in_order()))


def previous_action() -> Column:
    """Return the time of the last action before a row, of those that some day holds (R4)."""
    # Repeats are still there: of an event that some day holds, at least one row has an arrival day.
    is_held_action = F.col("is_user_action") & F.col("arrival").isNotNull()
    return F.last(F.when(is_held_action, F.col("timestamp")), ignorenulls=True).over(before())


def with_session_start(events: DataFrame, rule: SessionRule) -> DataFrame:
    """Add `session_start` (R2 to R6), from the stored session of a seed row too (R14, R15), and `stored_session`.

    Args:
        events: rows of the timeline with `previous_action` and `is_held`, false if no batch holds the event any more.
        rule: timeouts and user actions.
    """
    action_time = F.when(F.col("is_user_action") & F.col("is_held"), F.col("timestamp"))
    gap = microseconds_between("previous_action", "timestamp")
    timeout = rule.microseconds()
    starts_session = action_time.isNotNull() & (gap.isNull() | (gap > timeout))
    start = F.when(F.col("is_seed"), F.col("stored_session_start")).when(starts_session, F.col("timestamp"))
    # An action is always in a session.
    is_inside_session = action_time.isNotNull() | (gap <= timeout)
    return events.withColumns(
        {
            # Starts grow with time, so the greatest is the latest; one at the same instant counts (R5).
            "latest_start": F.max(start).over(_until_this_instant()),
            "stored_session": F.max("stored_session_start").over(_until_this_instant()),
        }
    ).withColumn("session_start", F.when(is_inside_session, F.col("latest_start")))


def session_id() -> Column:
    """Return the session id of a row from its key and `session_start`; NULL outside sessions (R9)."""
    return F.when(
        F.col("session_start").isNotNull(),
        F.concat_ws("#", _escaped("user_id"), _escaped("product_code"), _start_text("session_start")),
    )


def _escaped(column: str) -> Column:
    return F.replace(F.replace(F.col(column), F.lit("%"), F.lit("%25")), F.lit("#"), F.lit("%23"))


def _start_text(session_start: str) -> Column:
    # A cast to string also omits a fraction of zero, but cuts the trailing zeros of any other.
    has_fraction = F.date_trunc("second", F.col(session_start)) != F.col(session_start)
    return F.when(has_fraction, F.date_format(session_start, "yyyy-MM-dd HH:mm:ss.SSSSSS")).otherwise(
        F.date_format(session_start, "yyyy-MM-dd HH:mm:ss")
    )
