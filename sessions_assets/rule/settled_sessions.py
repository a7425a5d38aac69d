"""Settled sessions that a run changes: those that had, or get, their last action long enough before an instant.

DataFrame in, DataFrame out. Must not know Delta, paths, Dagster, or which dates are settled.
Source of the rules: R27 (timeout by product), R30.
"""

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.changes import DELETE
from sessions_assets.rule.events import KEY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import session_id

_SESSION = (*KEY_COLUMNS, "session_start")


def settled_sessions(changed: DataFrame, stored: DataFrame, end: datetime, rule: SessionRule) -> DataFrame:
    """Return the settled sessions with a changed row: of those stored before, and of those that are new (R30).

    Only a row before the end can belong to one: the session of any other reaches up to the end.

    Args:
        changed: the result of `changes`.
        stored: the stored rows before it, `SESSION_COLUMNS`, from the earliest session start of a changed row on.
        end: the instant at which the last settled date ends; a session is settled if its last action + T is before it.
        rule: timeouts and user actions.

    Returns:
        One row per session: `user_id`, `product_code`, `session_start`, `session_end` (last action), `session_id`.
    """
    kept = changed.where(F.col("change") != DELETE)
    before = changed.select(*KEY_COLUMNS, F.col("stored_session_start").alias("session_start"))
    touched = before.unionByName(kept.select(*_SESSION)).where(F.col("session_start") < F.lit(end)).distinct()
    old = _last_actions(stored.join(touched, [*_SESSION], "left_semi"))
    # All rows of a new session have changed.
    new = _last_actions(kept.where(F.col("session_start").isNotNull())).join(old, [*_SESSION], "left_anti")
    settled = old.unionByName(new).where(is_settled("session_end", end, rule))
    return settled.withColumn("session_id", session_id())


def is_settled(last_action: str, end: datetime, rule: SessionRule) -> Column:
    """Return whether the last action of a session + T is before the end of the last settled date (R30)."""
    return F.unix_micros(last_action) + rule.microseconds() < F.unix_micros(F.lit(end))


def _last_actions(rows: DataFrame) -> DataFrame:
    actions = rows.where("is_user_action").groupBy(*_SESSION)
    return actions.agg(F.max("timestamp").alias("session_end"))
