"""Changes of session ids: between which ids a commit of ods_sessions moved rows, and what that means.

DataFrame in, DataFrame out. Must not know Delta, paths, Dagster, or which commit it is.
Source of the rules: R16, R17 (why ids change), R29, R30 (was it settled).
"""

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.events import IDENTITY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.settled_sessions import is_settled

RENAMED, JOINED, SPLIT, ENDED = "renamed", "joined", "split", "ended"
"""What becomes of the rows of a session: see `id_changes`."""


def moved_rows(old: DataFrame, new: DataFrame) -> DataFrame:
    """Return between which sessions the rows of a commit moved.

    Args:
        old: rows as they were before the commit, `SESSION_COLUMNS`.
        new: rows as they are after it.

    Returns:
        One row per pair: `old_session_id`, `new_session_id` (NULL: in no session any more, or the event was removed),
        and `rows`.
    """
    left = old.where(F.col("session_id").isNotNull())
    left = left.select(*IDENTITY_COLUMNS, F.col("session_id").alias("old_session_id"))
    identity = left.select(*IDENTITY_COLUMNS)
    right = new.join(identity, [*IDENTITY_COLUMNS], "left_semi")
    right = right.select(*IDENTITY_COLUMNS, F.col("session_id").alias("new_session_id"))
    moved = left.join(right, [*IDENTITY_COLUMNS], "left")
    differs = ~F.col("old_session_id").eqNullSafe(F.col("new_session_id"))
    return moved.where(differs).groupBy("old_session_id", "new_session_id").agg(F.count("*").alias("rows"))


def id_changes(moved: DataFrame, sessions: DataFrame, settled_end: datetime | None, rule: SessionRule) -> DataFrame:
    """Return what became of the session of each pair (R29).

    `ended`: the rows are in no session any more. `split`: others of the old session's rows stayed in it, or went to
    another one. `joined`: the new session has rows of another one, or was there before. `renamed`: none of these.

    Args:
        moved: the result of `moved_rows`.
        sessions: the result of `summaries.compared` for the sessions that the commit touched.
        settled_end: the instant at which the last date ends that was settled before the commit; None: none was.
        rule: its timeouts.

    Returns:
        `old_session_id`, `new_session_id`, `kind`, `rows`, `was_settled`, and INT `days_late`, from the date of the new
        session to the arrival day that changed it (NULL: no session).
    """
    before = sessions.where("was_there").select(
        F.col("session_id").alias("old_session_id"), F.col("is_there").alias("is_left"), "product_code", "end_before"
    )
    lateness = F.date_diff("last_updated_at", "start_date")
    after = sessions.where("is_there").select(
        F.col("session_id").alias("new_session_id"), "was_there", lateness.alias("days_late")
    )
    known = moved.join(before, "old_session_id", "left").join(after, "new_session_id", "left")
    return known.select(
        "old_session_id",
        "new_session_id",
        _kind().alias("kind"),
        "rows",
        _was_settled(settled_end, rule).alias("was_settled"),
        "days_late",
    )


def _kind() -> Column:
    # Each count leaves out the pairs without a new session: those rows are in none.
    new_ids = F.count("new_session_id").over(Window.partitionBy("old_session_id"))
    old_ids = F.count("old_session_id").over(Window.partitionBy("new_session_id"))
    return (
        F.when(F.col("new_session_id").isNull(), F.lit(ENDED))
        .when(F.coalesce("is_left", F.lit(False)) | (new_ids > 1), F.lit(SPLIT))
        .when(F.coalesce("was_there", F.lit(False)) | (old_ids > 1), F.lit(JOINED))
        .otherwise(F.lit(RENAMED))
    )


def _was_settled(settled_end: datetime | None, rule: SessionRule) -> Column:
    if settled_end is None:
        return F.lit(False)
    return F.coalesce(is_settled("end_before", settled_end, rule), F.lit(False))
