"""What became of the sessions that changed: opened, extended, joined or shortened.

Must not know Delta, paths, Dagster, or what the numbers are for.
Source of the rules: R16, R17.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.changes import DELETE, INSERT
from sessions_assets.rule.events import KEY_COLUMNS

SESSION_OUTCOMES = ("opened", "extended", "joined", "shortened")


def session_outcomes(changed: DataFrame) -> DataFrame:
    """Tell of each session with a changed row what it was before.

    The sessions it was are those its changed rows were stored with, and itself if it was stored already. None: it
    opened. Several: they joined. One that began earlier: it is shortened, what is left of that one or a part of it.
    """
    # Which sessions these were need not be known, only whether there are none, one or more: the least and the greatest.
    itself = F.when(F.col("stored_session") == F.col("session_start"), F.col("session_start"))
    is_new_action = F.col("is_user_action") & (F.col("change") == INSERT)
    sessions = (
        changed.where(F.col("session_start").isNotNull() & (F.col("change") != DELETE))
        .groupBy(*KEY_COLUMNS, "session_start")
        .agg(
            F.min("stored_session_start").alias("earliest"),
            F.min(F.least("stored_session_start", itself)).alias("least"),
            F.max(F.greatest("stored_session_start", itself)).alias("greatest"),
            F.max(is_new_action).alias("has_new_action"),
        )
    )
    was_one = F.col("least") == F.col("greatest")
    is_shortened = F.col("earliest") < F.col("session_start")
    outcomes = {
        "opened": F.col("least").isNull(),
        "extended": was_one & F.col("has_new_action") & ~F.coalesce(is_shortened, F.lit(False)),
        "joined": F.col("least") < F.col("greatest"),
        "shortened": was_one & is_shortened,
    }
    return sessions.agg(*[F.count_if(outcomes[outcome]).alias(outcome) for outcome in SESSION_OUTCOMES])
