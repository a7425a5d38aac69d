"""Violations of session summaries: what the table sessions says of a session, and its events do not.

DataFrame in, DataFrame out. Written apart from the code that it judges: it lists and sorts the actions of a session.
Must not know Delta, paths, Dagster, or which sessions are judged.
Source of the rules: R28.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

VALUES_DIFFER, WITHOUT_EVENTS, MISSING_SESSION = (
    "summary_equals_events",
    "no_session_without_events",
    "no_session_missing",
)
SUMMARY_VIOLATIONS = {
    VALUES_DIFFER: "what `sessions` says of each session is what its events say",
    WITHOUT_EVENTS: "each session in `sessions` has an event in `ods_sessions`",
    MISSING_SESSION: "each session in `ods_sessions` is in `sessions`, once",
}
"""The assertions of the checks, by name."""

_MICROSECONDS = 1_000_000


def summary_violations(stored: DataFrame, events: DataFrame) -> DataFrame:
    """Compare stored summaries with the events of the same sessions.

    Args:
        stored: rows of sessions.
        events: rows of ods_sessions, all of each session.

    Returns:
        One row per session of either: `session_id`, `start_date`, and BOOLEAN columns named after
        `SUMMARY_VIOLATIONS`, true where the assertion is broken.
    """
    said = stored.groupBy("session_id").agg(F.count("*").alias("times"), F.first(F.struct("*")).alias("said"))
    expected = _from_events(events)
    joined = said.join(expected, "session_id", "full")
    values = expected.select("events_say.*").columns
    is_stored, has_events = F.col("said").isNotNull(), F.col("events_say").isNotNull()
    differs = [~F.col(f"said.{name}").eqNullSafe(F.col(f"events_say.{name}")) for name in values]
    return joined.select(
        "session_id",
        F.coalesce("said.start_date", F.to_date("events_say.session_start")).alias("start_date"),
        (is_stored & has_events & _any(differs)).alias(VALUES_DIFFER),
        (is_stored & ~has_events).alias(WITHOUT_EVENTS),
        (~is_stored | F.coalesce(F.col("times") > 1, F.lit(False))).alias(MISSING_SESSION),
    )


def _from_events(events: DataFrame) -> DataFrame:
    action = F.when(F.col("is_user_action"), F.struct("timestamp", "event_id"))
    listed = events.groupBy("session_id").agg(
        F.array_sort(F.collect_list(action)).alias("actions"),
        F.array_sort(F.collect_list("first_updated_at")).alias("arrivals"),
        *[F.max(name).alias(name) for name in ("user_id", "product_code", "session_start")],
    )
    first, last = F.get("actions", F.lit(0)), F.get("actions", F.size("actions") - 1)
    micros = F.unix_micros(last["timestamp"]) - F.unix_micros(first["timestamp"])
    values = {
        "user_id": F.col("user_id"),
        "product_code": F.col("product_code"),
        "session_start": first["timestamp"],
        "session_end": last["timestamp"],
        "duration_seconds": micros.cast("double") / _MICROSECONDS,
        "user_actions": F.size("actions").cast("bigint"),
        "events": F.size("arrivals").cast("bigint"),
        "first_action": first["event_id"],
        "last_action": last["event_id"],
        "first_updated_at": F.get("arrivals", F.lit(0)),
        "last_updated_at": F.get("arrivals", F.size("arrivals") - 1),
        "start_date": F.to_date("session_start"),
    }
    said = F.struct(*[value.alias(name) for name, value in values.items()])
    return listed.select("session_id", said.alias("events_say"))


def _any(conditions: list[Column]) -> Column:
    whole = F.lit(False)
    for condition in conditions:
        whole |= condition
    return whole
