"""Violations: stored rows that contradict the rule, and accepted events that are not stored.

DataFrame in, DataFrame out. Must not know Delta, paths, Dagster, or which violation stops a run.
Source of the rules: R1 to R6, R8, R9, R17, R24.

Every check but one compares a row with its neighbours, by the code of `neighbours`, which shares nothing with the code
that computes sessions. So a wrong order, a wrong distance, a wrong id or a rounded time in `sessions` shows up here.
If each row agrees with the action before it, all rows do: a row can be judged by what lies up to one timeout before it.

`recompute_agrees` is the exception: it asks `sessions` itself, on the stored events. It sees rows that were damaged,
written by other code, or computed incrementally with another result than at once. It does not see an error in
`sessions`: a wrong rule agrees with itself. No check sees a wrong `SessionRule.is_user_action`, which all of them ask.
"""

from collections.abc import Collection
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS
from sessions_assets.rule.neighbours import (
    carried_texts,
    has_other_id,
    is_within,
    lacks_text,
    neighbour_columns,
    timeout_of,
)
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import previous_action, with_session_start

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
VALUES = "carried_values_are_first"
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
    VALUES: "the carried attributes of an event are those of its first arrival day, of several rows the least",
    RECOMPUTED: "the rule, computed again from the events of these keys, gives the same sessions",
}
"""The checks by name; each value states what holds when the check passes."""

ROW_COLUMNS = (*IDENTITY_COLUMNS, "is_user_action", "session_id", "session_start", "first_updated_at", "pdate")
"""The columns shown of an offending row; a missing event has only its four values and its arrival day."""


def violations(
    stored: DataFrame, batch: DataFrame, since: DataFrame, days: Collection[date], rule: SessionRule
) -> DataFrame:
    """Judge the stored rows that some days could change, and the rows of their batches that must be among them.

    Args:
        stored: rows of ods_sessions with `carried`; those before the earliest `since` - T may be left out.
        batch: accepted rows of the days, with `_updated_at` and `carried`; NULL: not to be compared.
        since: of each key the time from which it is judged, the result of `earliest_changes` for the batch.
        days: the arrival days of the batch; it must hold every stored row that one of them was the first to bring.
        rule: timeouts and user actions.

    Returns:
        The rows that were judged: `ROW_COLUMNS`; BOOLEAN `is_stored`; BOOLEAN `is_known`, false if the rows before
        this one were not read; DATE `about`, the one day of `MISSING`, `ARRIVAL` or `VALUES`; and for each of
        `VIOLATIONS` a BOOLEAN column, true where the row breaks it.
    """
    is_known = F.coalesce(F.col("timestamp") >= F.col("since"), F.lit(False))
    is_seed = F.col("is_user_action") & is_within(timeout_of(rule), "timestamp", "since")
    # A row that a day brought must be in its batch: it is judged whatever its date.
    is_brought = F.col("first_updated_at").isin(*days) if days else F.lit(False)
    reached = stored.join(since, [*KEY_COLUMNS], "left").where(is_known | is_seed | is_brought)
    timeline = _stored(reached.withColumns({"is_known": is_known, "is_seed": ~is_known & ~is_brought}), rule)
    return _judged(timeline.unionByName(_delivered(batch, rule)), days, rule)


def violations_of_all(stored: DataFrame, batches: DataFrame, days: Collection[date], rule: SessionRule) -> DataFrame:
    """Judge a whole table against all batches that are kept; the result has the columns of `violations`."""
    whole = stored.withColumns({"is_known": F.lit(True), "is_seed": F.lit(False), "since": F.lit(None)})
    return _judged(_stored(whole, rule).unionByName(_delivered(batches, rule)), days, rule)


def _judged(timeline: DataFrame, days: Collection[date], rule: SessionRule) -> DataFrame:
    of_the_rule = {"previous_action": previous_action(), "is_held": F.lit(True)}
    recomputed = with_session_start(timeline.withColumns(neighbour_columns() | of_the_rule), rule)
    return recomputed.where(~F.col("is_seed")).select(
        *IDENTITY_COLUMNS,
        F.col("stored_is_user_action").alias("is_user_action"),
        "session_id",
        F.col("stored_session_start").alias("session_start"),
        F.col("arrival").alias("first_updated_at"),
        "pdate",
        "is_stored",
        "is_known",
        F.least("arrival", "next_arrival").alias("about"),
        *[F.coalesce(is_broken, F.lit(False)).alias(name) for name, is_broken in _conditions(days, rule).items()],
    )


def _stored(rows: DataFrame, rule: SessionRule) -> DataFrame:
    return rows.select(
        *IDENTITY_COLUMNS,
        rule.is_user_action().alias("is_user_action"),
        F.col("is_user_action").alias("stored_is_user_action"),
        "session_id",
        F.col("session_start").alias("stored_session_start"),
        F.col("first_updated_at").alias("arrival"),
        "pdate",
        carried_texts(rule).alias("carried"),
        F.lit(True).alias("is_stored"),
        "is_known",
        "is_seed",
        F.timestamp_micros(F.unix_micros(F.col("since").cast("timestamp")) - timeout_of(rule)).alias("read_from"),
    )


def _delivered(batch: DataFrame, rule: SessionRule) -> DataFrame:
    not_delivered = {
        "stored_is_user_action": "boolean",
        "session_id": "string",
        "stored_session_start": "timestamp",
        "pdate": "date",
        "read_from": "timestamp",
    }
    return batch.select(
        *IDENTITY_COLUMNS,
        rule.is_user_action().alias("is_user_action"),
        F.col(ARRIVAL_DAY).alias("arrival"),
        carried_texts(rule).alias("carried"),
        F.lit(False).alias("is_stored"),
        F.lit(True).alias("is_known"),
        F.lit(False).alias("is_seed"),
        *[F.lit(None).cast(kind).alias(name) for name, kind in not_delivered.items()],
    )


def _conditions(days: Collection[date], rule: SessionRule) -> dict[str, Column]:
    """Return for each violation whether a row breaks it."""
    of_stored_rows = _of_the_row() | _of_its_session(rule) | _of_deliveries(days)
    return {
        **{name: F.col("is_stored") & is_broken for name, is_broken in of_stored_rows.items()},
        MISSING: ~F.col("is_stored") & ~F.col("repeats_previous"),
    }


def _of_the_row() -> dict[str, Column]:
    session = F.col("stored_session_start")
    return {
        DUPLICATE: F.col("repeats_a_stored_one"),
        BLANK: lacks_text("user_id") | lacks_text("event_id") | lacks_text("product_code") | F.isnull("timestamp"),
        NO_SESSION: F.col("stored_is_user_action") & (session.isNull() | F.col("session_id").isNull()),
        ID: has_other_id("stored_session_start"),
        DATE: F.col("pdate") != F.to_date("timestamp"),
    }


def _of_its_session(rule: SessionRule) -> dict[str, Column]:
    session, is_action = F.col("stored_session_start"), F.col("stored_is_user_action")
    follows = F.coalesce(is_within(timeout_of(rule), "action.timestamp", "timestamp"), F.lit(False))
    is_other_session = ~session.eqNullSafe(F.col("action.session"))
    # The rows of a session that began before `read_from` were not all read: then the action before decides.
    is_start_read = F.isnull("read_from") | (session >= F.col("read_from")) | (is_action & ~follows)
    is_other_start = ~F.col("own_start").eqNullSafe(session)
    gap_differs = F.when(follows, is_other_session).otherwise(~session.eqNullSafe(F.col("timestamp")))
    native_differs = F.when(follows, is_other_session).otherwise(session.isNotNull())
    rule_differs = ~session.eqNullSafe(F.col("session_start")) | (is_action != F.col("is_user_action"))
    found = {
        START: session.isNotNull() & is_start_read & is_other_start,
        GAP: is_action & session.isNotNull() & gap_differs,
        NATIVE: ~is_action & native_differs,
        RECOMPUTED: rule_differs,
    }
    return {name: F.col("is_known") & is_broken for name, is_broken in found.items()}


def _of_deliveries(days: Collection[date]) -> dict[str, Column]:
    held_day, first_day = F.col("next_arrival"), F.col("arrival")
    is_brought = first_day.isin(*days) if days else F.lit(False)
    is_wrong_day = (held_day < first_day) | (is_brought & held_day.isNull())
    has_other_values = (held_day == first_day) & (F.col("carried") != F.col("next_carried"))
    return {ARRIVAL: ~F.col("is_repeated") & is_wrong_day, VALUES: has_other_values}
