"""Sessions of all events: order, repeats, the session start of each event, and the id of a session.

DataFrame in, DataFrame out. Must not know what is stored, Delta, paths, Dagster or what day it is.
Source of the rules: R1 to R6, R9.

`all_sessions` here and `changes` in `changes.py` lay their rows on one timeline per key (user_id, product_code) and
read it in the same order with the same code. A row of the timeline has

| column                  | meaning                                                                          |
|-------------------------|----------------------------------------------------------------------------------|
| the four event columns  | identity (R1)                                                                    |
| is_user_action          | the event is one of the configured actions                                       |
| arrival                 | an arrival day that holds the event; NULL: no day that this row knows of         |
| is_stored               | the row comes from the stored sessions                                           |
| is_seed                 | a stored action just before the earliest change: context, never changed (R14)    |
| stored_session_start    | its session as stored, or NULL                                                   |
| stored_first_updated_at | its first arrival day as stored, or NULL                                         |
| row_address             | where the stored row lies, for whoever replaces it; NULL if there is none        |
"""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.window import WindowSpec

from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS
from sessions_assets.rule.session_rule import SESSION_COLUMNS, SessionRule


def in_order() -> WindowSpec:
    """Read a key by time; at one instant the action counts as first (R5).

    Rows of one event stand side by side: the stored one first, then the one with the least arrival.
    """
    return Window.partitionBy(*KEY_COLUMNS).orderBy(
        "timestamp", F.desc("is_user_action"), "event_id", F.desc("is_stored"), F.asc_nulls_last("arrival")
    )


def before() -> WindowSpec:
    """Look from a row at all rows of its key before it."""
    return in_order().rowsBetween(Window.unboundedPreceding, -1)


def microseconds_between(earlier: str, later: str) -> Column:
    """Subtract times; as intervals Spark would reckon with the calendar, ten times slower."""
    return F.unix_micros(later) - F.unix_micros(earlier)


def _until_this_instant() -> WindowSpec:
    # In the same sort as the others, but all rows of one instant see each other.
    return Window.partitionBy(*KEY_COLUMNS).orderBy("timestamp")


def all_sessions(events: DataFrame, rule: SessionRule) -> DataFrame:
    """Compute the sessions of all events at once: the full form of the rule.

    Args:
        events: the four event columns and DATE `_updated_at`; repeats allowed.
        rule: timeout and user actions.

    Returns:
        One row per distinct event (R1) with `SESSION_COLUMNS`.
    """
    return sessionize(delivered_timeline(events, rule), rule).select(*SESSION_COLUMNS)


def delivered_timeline(rows: DataFrame, rule: SessionRule) -> DataFrame:
    """Return delivered rows, the four event columns and `_updated_at`, as rows of the timeline."""
    return rows.select(
        *IDENTITY_COLUMNS,
        rule.is_user_action().alias("is_user_action"),
        F.col(ARRIVAL_DAY).alias("arrival"),
        F.lit(False).alias("is_stored"),
        F.lit(False).alias("is_seed"),
        F.lit(None).cast("timestamp").alias("stored_session_start"),
        F.lit(None).cast("date").alias("stored_first_updated_at"),
        # Of whatever type the stored rows have.
        F.lit(None).alias("row_address"),
    )


def sessionize(timeline: DataFrame, rule: SessionRule) -> DataFrame:
    """Fuse repeats, then give every row its session: one shuffle, one sort and two windows (R1 to R6, R9)."""
    events = _one_row_per_event(timeline)
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
        "row_address",
    )


def _one_row_per_event(timeline: DataFrame) -> DataFrame:
    """Keep the first row of each event (R1), with the least arrival day that holds it."""
    # A row that somebody has stored twice stays so, for the checks to show.
    arrivals = (F.lead(column).over(in_order()) for column in ("arrival", "stored_first_updated_at"))
    next_arrival = F.when(is_same_event(F.lead), F.coalesce(*arrivals))
    return (
        timeline.withColumns(
            {
                "repeats_previous": is_same_event(F.lag),
                # A stored row is the first of its event, and the least arrival that is delivered comes next.
                "least_arrival": F.least("arrival", next_arrival),
                "previous_action": previous_action(),
            }
        )
        .where(~F.col("repeats_previous"))
        .withColumn("is_held", F.col("least_arrival").isNotNull())
    )


def is_same_event(neighbour: Callable[[str], Column]) -> Column:
    """Tell whether the neighbour in this order, `F.lag` or `F.lead`, is the same event (R1)."""
    same_time = F.col("timestamp").eqNullSafe(neighbour("timestamp").over(in_order()))
    return same_time & F.col("event_id").eqNullSafe(neighbour("event_id").over(in_order()))


def previous_action() -> Column:
    """Give the time of the last action before the first row of an event that some day holds."""
    # Of an event that is held, at least one row says so: the others need not be fused with it first.
    is_held_action = F.col("is_user_action") & F.col("arrival").isNotNull()
    return F.last(F.when(is_held_action, F.col("timestamp")), ignorenulls=True).over(before())


def with_session_start(events: DataFrame, rule: SessionRule) -> DataFrame:
    """Add `session_start` (R2 to R6), seeded by the stored session of a seed row (R14, R15), and `stored_session`.

    Args:
        events: timeline rows with `previous_action`, and `is_held`: false for an event that no batch holds any more.
        rule: timeout and user actions.
    """
    action_time = F.when(F.col("is_user_action") & F.col("is_held"), F.col("timestamp"))
    gap = microseconds_between("previous_action", "timestamp")
    starts_session = action_time.isNotNull() & (gap.isNull() | (gap > rule.microseconds))
    start = F.when(F.col("is_seed"), F.col("stored_session_start")).when(starts_session, F.col("timestamp"))
    # An action is in a session, its own at least.
    is_inside_session = action_time.isNotNull() | (gap <= rule.microseconds)
    return events.withColumns(
        {
            # Starts only grow, so the greatest is the latest; one at this very instant counts too.
            "latest_start": F.max(start).over(_until_this_instant()),
            "stored_session": F.max("stored_session_start").over(_until_this_instant()),
        }
    ).withColumn("session_start", F.when(is_inside_session, F.col("latest_start")))


def session_id() -> Column:
    """Write the id of the session of a row with its key and `session_start`; NULL outside sessions (R9)."""
    return F.when(
        F.col("session_start").isNotNull(),
        # A cast to string writes the fraction only where it is not zero, but cuts its trailing zeros.
        F.concat_ws("#", _escaped("user_id"), _escaped("product_code"), _written_out("session_start")),
    )


def _escaped(column: str) -> Column:
    return F.replace(F.replace(F.col(column), F.lit("%"), F.lit("%25")), F.lit("#"), F.lit("%23"))


def _written_out(moment: str) -> Column:
    has_fraction = F.date_trunc("second", F.col(moment)) != F.col(moment)
    return F.when(has_fraction, F.date_format(moment, "yyyy-MM-dd HH:mm:ss.SSSSSS")).otherwise(
        F.date_format(moment, "yyyy-MM-dd HH:mm:ss")
    )
