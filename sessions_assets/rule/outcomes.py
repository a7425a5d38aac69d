"""Outcomes: how many sessions a run opened, extended, joined or shortened.

DataFrame in, DataFrame out. Must not know Delta, paths, Dagster, or where the numbers are shown.
Source of the rules: R16, R17.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.changes import DELETE, INSERT
from sessions_assets.rule.events import KEY_COLUMNS

SESSION_OUTCOMES = ("opened", "extended", "joined", "shortened")


def session_outcomes(changed: DataFrame) -> DataFrame:
    """Return one row with the number of sessions of each of `SESSION_OUTCOMES`, among those with a changed row.

    The former sessions of a session are those that its changed rows were stored with, and the session itself if it was
    stored. A session without one was opened; with several, joined. With one that began earlier it was shortened: it is
    what is left of the former one, or a part of it. Otherwise a new action extended it.

    Args:
        changed: the result of `changes`.
    """
    sessions = _sessions(changed)
    has_one = F.col("least") == F.col("greatest")
    is_shortened = F.col("earliest") < F.col("session_start")
    outcomes = {
        "opened": F.col("least").isNull(),
        "extended": has_one & F.col("has_new_action") & ~F.coalesce(is_shortened, F.lit(False)),
        "joined": F.col("least") < F.col("greatest"),
        "shortened": has_one & is_shortened,
    }
    return sessions.agg(*[F.count_if(outcomes[name]).alias(name) for name in SESSION_OUTCOMES])


def _sessions(changed: DataFrame) -> DataFrame:
    """Return the sessions with a changed row, with the least and the greatest start of their former sessions.

    These two tell whether there were none, one or several: the sessions between them need not be known.
    """
    itself = F.when(F.col("stored_session") == F.col("session_start"), F.col("session_start"))
    is_new_action = F.col("is_user_action") & (F.col("change") == INSERT)
    return (
        changed.where(F.col("session_start").isNotNull() & (F.col("change") != DELETE))
        .groupBy(*KEY_COLUMNS, "session_start")
        .agg(
            F.min("stored_session_start").alias("earliest"),
            F.min(F.least("stored_session_start", itself)).alias("least"),
            F.max(F.greatest("stored_session_start", itself)).alias("greatest"),
            F.max(is_new_action).alias("has_new_action"),
        )
    )
