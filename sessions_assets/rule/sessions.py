"""The rule: which events form a session, and what a batch can change of the sessions that are stored.

DataFrame in, DataFrame out. Must not know Delta, paths, Dagster or what day it is.
Source of the rules: S1 to S6, S9, S14 to S17, S19.

Both forms, `all_sessions` and `changes`, lay their rows on one timeline per key (user_id, product_code) and read
it in the same order with the same code. A row of the timeline has

| column                  | meaning                                                                          |
|-------------------------|----------------------------------------------------------------------------------|
| the four event columns  | identity (S1)                                                                    |
| is_user_action          | the event is one of the configured actions                                       |
| arrival                 | an arrival day that holds the event; NULL: no day that this row knows of         |
| is_stored               | the row comes from the stored sessions                                           |
| is_seed                 | a stored action just before the earliest change: context, never changed (S14)    |
| stored_session_start    | its session as stored, or NULL                                                   |
| stored_first_updated_at | its first arrival day as stored, or NULL                                         |
| place                   | where the stored row lies, for whoever replaces it; NULL if there is none        |
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.window import WindowSpec

from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS

SESSION_TIMEOUT = timedelta(seconds=300)
"""T: two consecutive user actions further apart belong to different sessions (S2, S3)."""

USER_ACTIONS = frozenset({"a", "b", "c"})

INSERT, UPDATE, DELETE = "inserted", "changed", "removed"

# Exactly the columns of the table ods_sessions, in its order.
SESSION_COLUMNS = (
    *IDENTITY_COLUMNS,
    "is_user_action",
    "session_id",
    "session_start",
    "first_updated_at",
    "pdate",
)


@dataclass(frozen=True)
class SessionRule:
    """The two values that decide every session.

    Attributes:
        timeout: T, to the microsecond; positive.
        user_actions: the ids of user actions; None makes every event one.
    """

    timeout: timedelta = SESSION_TIMEOUT
    user_actions: frozenset[str] | None = USER_ACTIONS

    @property
    def microseconds(self) -> int:
        """Give the timeout as a whole number."""
        return self.timeout // timedelta(microseconds=1)

    def is_user_action(self) -> Column:
        """Tell of a row with `event_id` whether a person did it."""
        if self.user_actions is None:
            return F.lit(True)
        return F.col("event_id").isin(sorted(self.user_actions))

    def as_properties(self) -> dict[str, str]:
        """Write the rule as table properties, so that a table remembers what it was built with (S22)."""
        actions = "*" if self.user_actions is None else json.dumps(sorted(self.user_actions))
        return {
            "sessions.timeoutMicroseconds": str(self.microseconds),
            "sessions.userActions": actions,
        }


def in_order() -> WindowSpec:
    """Read a key by time; at one instant the action counts as first (S5).

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
        One row per distinct event (S1) with `SESSION_COLUMNS`.
    """
    return _sessionize(_incoming(events, rule), rule).select(*SESSION_COLUMNS)


def held_elsewhere(stored_of_days: DataFrame, batch: DataFrame, other_raw: DataFrame) -> DataFrame:
    """Find the events that vanished from their own day and are still held by another (S17).

    Args:
        stored_of_days: stored rows whose `first_updated_at` is one of the days that are applied.
        batch: accepted rows of those days, with `_updated_at`.
        other_raw: accepted rows of all other days, with `_updated_at`.

    Returns:
        The rows of `other_raw` whose event is no longer in the day that first brought it.
    """
    of_its_day = stored_of_days.select(*IDENTITY_COLUMNS, F.col("first_updated_at").alias(ARRIVAL_DAY))
    vanished = of_its_day.join(batch, [*IDENTITY_COLUMNS, ARRIVAL_DAY], "left_anti")
    return other_raw.join(vanished.select(*IDENTITY_COLUMNS), [*IDENTITY_COLUMNS], "left_semi")


def earliest_changes(touched: DataFrame) -> DataFrame:
    """Give each key that the days touch the moment `since`, before which nothing of it can change (S14).

    Args:
        touched: rows of the batch, and stored rows that the days brought at first and may have lost.

    Returns:
        One row per key: `user_id`, `product_code`, `since`.
    """
    return touched.groupBy(*KEY_COLUMNS).agg(F.min("timestamp").alias("since"))


def changes(
    incoming: DataFrame, stored: DataFrame, since: DataFrame, days: Sequence[date], rule: SessionRule
) -> DataFrame:
    """Compute the rows of the stored sessions that these days change, and only those (S14 to S17, S19).

    Args:
        incoming: the four event columns and DATE `_updated_at`: rows of `days`, and rows that hold a vanished
            event elsewhere; repeats allowed.
        stored: stored rows, `SESSION_COLUMNS` and `place`; those before the earliest `since` - T may be left out.
        since: the answer of `earliest_changes`.
        days: the arrival days that are applied.
        rule: timeout and user actions, those the stored rows were computed with.

    Returns:
        `SESSION_COLUMNS`, `change` (inserted, changed or removed), `place`, `stored_session_start` and
        `stored_first_updated_at` (NULL where nothing was stored), and `stored_session`: the start of the latest
        stored session of a row up to this instant.
    """
    timeline = _incoming(incoming, rule).unionByName(_stored_context(stored, since, days, rule))
    rows = _sessionize(timeline, rule).where(~F.col("is_seed"))
    return rows.withColumn("change", _change()).where(F.col("change").isNotNull())


def _incoming(rows: DataFrame, rule: SessionRule) -> DataFrame:
    return rows.select(
        *IDENTITY_COLUMNS,
        rule.is_user_action().alias("is_user_action"),
        F.col(ARRIVAL_DAY).alias("arrival"),
        F.lit(False).alias("is_stored"),
        F.lit(False).alias("is_seed"),
        F.lit(None).cast("timestamp").alias("stored_session_start"),
        F.lit(None).cast("date").alias("stored_first_updated_at"),
        # Of whatever type the stored rows have.
        F.lit(None).alias("place"),
    )


def _stored_context(stored: DataFrame, since: DataFrame, days: Sequence[date], rule: SessionRule) -> DataFrame:
    is_seed = F.col("timestamp") < F.col("since")
    can_change = F.col("timestamp") >= F.col("since")
    seeds_a_session = F.col("is_user_action") & (microseconds_between("timestamp", "since") <= rule.microseconds)
    # A day that is applied anew has to show again what it holds; any other day still holds what it brought.
    # As an array, for Spark writes a lone date into the code that it generates, and would compile that anew each day.
    is_of_days = F.array_contains(F.array(*map(F.lit, days)), F.col("first_updated_at"))
    still_held_by = F.when(~is_of_days, F.col("first_updated_at"))
    return (
        stored.join(since, [*KEY_COLUMNS])
        .where(can_change | seeds_a_session)
        .select(
            *IDENTITY_COLUMNS,
            "is_user_action",
            F.when(is_seed, F.col("first_updated_at")).otherwise(still_held_by).alias("arrival"),
            F.lit(True).alias("is_stored"),
            is_seed.alias("is_seed"),
            F.col("session_start").alias("stored_session_start"),
            F.col("first_updated_at").alias("stored_first_updated_at"),
            "place",
        )
    )


def _sessionize(timeline: DataFrame, rule: SessionRule) -> DataFrame:
    """Fuse repeats, then give every row its session: one shuffle, one sort and two windows (S1 to S6, S9)."""
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
        "place",
    )


def _one_row_per_event(timeline: DataFrame) -> DataFrame:
    """Keep the first row of each event (S1), with the least arrival day that holds it."""
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
    """Tell whether the neighbour in this order, `F.lag` or `F.lead`, is the same event (S1)."""
    same_time = F.col("timestamp").eqNullSafe(neighbour("timestamp").over(in_order()))
    return same_time & F.col("event_id").eqNullSafe(neighbour("event_id").over(in_order()))


def previous_action() -> Column:
    """Give the time of the last action before the first row of an event that some day holds."""
    # Of an event that is held, at least one row says so: the others need not be fused with it first.
    is_held_action = F.col("is_user_action") & F.col("arrival").isNotNull()
    return F.last(F.when(is_held_action, F.col("timestamp")), ignorenulls=True).over(before())


def with_session_start(events: DataFrame, rule: SessionRule) -> DataFrame:
    """Add `session_start` (S2 to S6), seeded by the stored session of a seed row (S14, S15), and `stored_session`.

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


def _change() -> Column:
    differs = ~F.col("first_updated_at").eqNullSafe(F.col("stored_first_updated_at")) | ~F.col(
        "session_start"
    ).eqNullSafe(F.col("stored_session_start"))
    return (
        F.when(~F.col("is_held"), F.lit(DELETE)).when(~F.col("is_stored"), F.lit(INSERT)).when(differs, F.lit(UPDATE))
    )


def session_id() -> Column:
    """Write the id of the session of a row with its key and `session_start`; NULL outside sessions (S9)."""
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
