"""What breaks the rule: of stored rows, which say something that the rule does not.

DataFrame in, DataFrame out. Written a second time, from neighbour to neighbour, so that an error of `sessions` would be
seen; only `RECOMPUTED` asks `sessions` itself. Must not know Delta, paths, Dagster or what blocks.
Source of the rules: R1 to R6, R8, R9, R17.

A row can be judged by what lies up to one timeout before it: if each row agrees with the action before it, all do.
"""

from collections.abc import Collection
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS, is_blank
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import (
    before,
    in_order,
    is_same_event,
    microseconds_between,
    previous_action,
    session_id,
    with_session_start,
)

DUPLICATE = "one_row_per_event"
BLANK = "keys_present"
NO_SESSION = "actions_have_sessions"
START = "sessions_start_with_an_action"
GAP = "gaps_decide_sessions"
NATIVE = "native_events_follow_actions"
ID = "session_id_is_its_parts"
DATE = "pdate_is_the_utc_date"
MISSING = "every_event_is_there"
ARRIVAL = "first_arrival_is_held"
RECOMPUTED = "recompute_agrees"
VIOLATIONS = {
    DUPLICATE: "each event is one row",
    BLANK: "no user, event or product is blank, and no timestamp missing",
    NO_SESSION: "every user action has a session",
    START: "a session starts with a user action, at its start time",
    GAP: "actions at most the timeout apart are in one session, others are not",
    NATIVE: "a native event is in the session of the last action, if that is at most the timeout ago, else in none",
    ID: "the id of a session is made of its user, product and start",
    DATE: "`pdate` is the UTC date of the event",
    MISSING: "every accepted event of the day is in the table",
    ARRIVAL: "`first_updated_at` is the first day whose batch holds the event",
    RECOMPUTED: "the rule, computed anew from the events of these keys, gives the same sessions",
}
"""What may be broken, as what holds if it is not."""

ROW_COLUMNS = (*IDENTITY_COLUMNS, "is_user_action", "session_id", "session_start", "first_updated_at", "pdate")
"""What an offending row shows of itself; an event that is missing shows its four values and its arrival day."""


def violations(
    stored: DataFrame, batch: DataFrame, since: DataFrame, days: Collection[date], rule: SessionRule
) -> DataFrame:
    """Judge the stored rows that days touched, and the rows of their batches that should be among them.

    Args:
        stored: rows of ods_sessions; those before the earliest `since` - T may be left out.
        batch: accepted rows of the days, with `_updated_at`.
        since: of each key the moment from which it is judged, the answer of `earliest_changes` for the batch.
        days: the arrival days of the batch; a stored row that one of them brought must be in it.
        rule: timeout and user actions.

    Returns:
        The rows that were judged: `ROW_COLUMNS`, BOOLEAN `is_stored`, BOOLEAN `is_known`, false if what lies before
        the row is out of sight; DATE `about`, the one day that `MISSING` or `ARRIVAL` speaks of; and a BOOLEAN column
        for each of `VIOLATIONS`, true where the row breaks it.
    """
    is_known = F.coalesce(F.col("timestamp") >= F.col("since"), F.lit(False))
    seeds = F.col("is_user_action") & (microseconds_between("timestamp", "since") <= rule.microseconds)
    # What a day brought is in its batch, or else it breaks that: it is looked at wherever it lies.
    is_brought = F.col("first_updated_at").isin(*days) if days else F.lit(False)
    reached = stored.join(since, [*KEY_COLUMNS], "left").where(is_known | seeds | is_brought)
    timeline = _stored(reached.withColumns({"is_known": is_known, "is_seed": ~is_known & ~is_brought}), rule)
    return _judged(timeline.unionByName(_delivered(batch, rule)), days, rule)


def violations_of_all(stored: DataFrame, batches: DataFrame, days: Collection[date], rule: SessionRule) -> DataFrame:
    """Judge a whole table, and all batches that are known; the answer is that of `violations`."""
    whole = stored.withColumns({"is_known": F.lit(True), "is_seed": F.lit(False), "since": F.lit(None)})
    return _judged(_stored(whole, rule).unionByName(_delivered(batches, rule)), days, rule)


def _judged(timeline: DataFrame, days: Collection[date], rule: SessionRule) -> DataFrame:
    rows = with_session_start(_with_neighbours(timeline), rule).where(~F.col("is_seed"))
    return rows.select(
        *IDENTITY_COLUMNS,
        F.col("stored_is_user_action").alias("is_user_action"),
        "session_id",
        F.col("stored_session_start").alias("session_start"),
        F.col("arrival").alias("first_updated_at"),
        "pdate",
        "is_stored",
        "is_known",
        F.least("arrival", "next_arrival").alias("about"),
        *[F.coalesce(breaks, F.lit(False)).alias(name) for name, breaks in _breaks(days, rule).items()],
    )


def _stored(rows: DataFrame, rule: SessionRule) -> DataFrame:
    return rows.select(
        *IDENTITY_COLUMNS,
        rule.is_user_action().alias("is_user_action"),
        F.col("is_user_action").alias("stored_is_user_action"),
        "session_id",
        F.col("session_start").alias("stored_session_start"),
        # What the row says of itself, since `session_start` will be what the rule says.
        session_id().alias("written_id"),
        F.col("first_updated_at").alias("arrival"),
        "pdate",
        F.lit(True).alias("is_stored"),
        "is_known",
        "is_seed",
        (F.col("since").cast("timestamp") - F.lit(rule.timeout)).alias("reach"),
        F.lit(True).alias("is_held"),
    )


def _delivered(batch: DataFrame, rule: SessionRule) -> DataFrame:
    nothing = {
        "stored_is_user_action": "boolean",
        "session_id": "string",
        "stored_session_start": "timestamp",
        "written_id": "string",
        "pdate": "date",
        "reach": "timestamp",
    }
    return batch.select(
        *IDENTITY_COLUMNS,
        rule.is_user_action().alias("is_user_action"),
        F.col(ARRIVAL_DAY).alias("arrival"),
        F.lit(False).alias("is_stored"),
        F.lit(True).alias("is_known"),
        F.lit(False).alias("is_seed"),
        F.lit(True).alias("is_held"),
        *[F.lit(None).cast(kind).alias(name) for name, kind in nothing.items()],
    )


def _with_neighbours(timeline: DataFrame) -> DataFrame:
    """Add what a row has to agree with: its repeats, the stored action before it, the stored start before it."""
    is_action = F.col("is_stored") & F.col("is_user_action")
    action = F.struct("timestamp", F.col("stored_session_start").alias("session"))
    is_start = is_action & (F.col("stored_session_start") == F.col("timestamp"))
    until_now = in_order().rowsBetween(Window.unboundedPreceding, Window.currentRow)
    is_delivered_next = is_same_event(F.lead) & ~F.lead("is_stored").over(in_order())
    return timeline.withColumns(
        {
            "repeats_previous": is_same_event(F.lag),
            "repeats_a_stored_one": is_same_event(F.lag) & F.lag("is_stored").over(in_order()),
            "is_repeated": is_same_event(F.lead) & F.lead("is_stored").over(in_order()),
            "next_arrival": F.when(is_delivered_next, F.lead("arrival").over(in_order())),
            "action": F.last(F.when(is_action, action), ignorenulls=True).over(before()),
            "previous_action": previous_action(),
            "own_start": F.last(F.when(is_start, F.col("timestamp")), ignorenulls=True).over(until_now),
        }
    )


def _breaks(days: Collection[date], rule: SessionRule) -> dict[str, Column]:
    is_stored, is_action = F.col("is_stored"), F.col("stored_is_user_action")
    is_known = F.col("is_known")
    session = F.col("stored_session_start")
    follows = F.coalesce(microseconds_between("action.timestamp", "timestamp") <= rule.microseconds, F.lit(False))
    is_same_session = session.eqNullSafe(F.col("action.session"))
    begins = session.eqNullSafe(F.col("timestamp"))
    # The start of a session that began further back is out of sight: then the action before vouches for it.
    start_in_sight = F.col("reach").isNull() | (session >= F.col("reach")) | (is_action & ~follows)
    held_day = F.col("next_arrival")
    is_brought = F.col("arrival").isin(*days) if days else F.lit(False)
    differs = ~session.eqNullSafe(F.col("session_start")) | (is_action != F.col("is_user_action"))
    native_differs = F.when(follows, ~is_same_session).otherwise(session.isNotNull())
    found = {
        DUPLICATE: F.col("repeats_a_stored_one"),
        BLANK: is_blank("user_id") | is_blank("event_id") | is_blank("product_code") | F.col("timestamp").isNull(),
        NO_SESSION: is_action & (session.isNull() | F.col("session_id").isNull()),
        START: is_known & session.isNotNull() & start_in_sight & ~F.col("own_start").eqNullSafe(session),
        GAP: is_known & is_action & session.isNotNull() & F.when(follows, ~is_same_session).otherwise(~begins),
        NATIVE: is_known & ~is_action & native_differs,
        ID: ~F.col("session_id").eqNullSafe(F.col("written_id")),
        DATE: F.col("pdate") != F.to_date("timestamp"),
        ARRIVAL: ~F.col("is_repeated") & ((held_day < F.col("arrival")) | (is_brought & held_day.isNull())),
        RECOMPUTED: is_known & differs,
    }
    return {
        **{name: is_stored & breaks for name, breaks in found.items()},
        MISSING: ~is_stored & ~F.col("repeats_previous"),
    }
