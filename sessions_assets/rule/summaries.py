"""Session summaries: one row per session, from the rows of its events, and which summaries differ.

DataFrame in, DataFrame out. Must not know Delta, paths, Dagster, or which sessions a run looks at.
Source of the rules: R19 (no needless write), R28.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.changes import DELETE, INSERT, UPDATE

SUMMARY_COLUMNS = (
    "session_id",
    "user_id",
    "product_code",
    "session_start",
    "session_end",
    "duration_seconds",
    "user_actions",
    "events",
    "first_action",
    "last_action",
    "first_updated_at",
    "last_updated_at",
    "start_date",
)
"""The columns of the table sessions, in its order."""

_OTHERS = tuple(name for name in SUMMARY_COLUMNS if name != "session_id")


def summaries(rows: DataFrame) -> DataFrame:
    """Return one row per session with `SUMMARY_COLUMNS` (R28).

    Args:
        rows: rows of ods_sessions, `SESSION_COLUMNS`; of a session all or none. Those outside sessions are left out.
    """
    # Compared by time, then by id: of several actions at one instant the least is the first, the greatest the last.
    action = F.when(F.col("is_user_action"), F.struct("timestamp", "event_id"))
    in_sessions = rows.where(F.col("session_id").isNotNull())
    return (
        in_sessions.groupBy("session_id")
        .agg(
            # The id tells all three. By the id alone: rows that another program has changed are one session, too.
            *[F.min(name).alias(name) for name in ("user_id", "product_code", "session_start")],
            F.min(action).alias("first"),
            F.max(action).alias("last"),
            F.count_if("is_user_action").alias("user_actions"),
            F.count("*").alias("events"),
            F.min("first_updated_at").alias("first_updated_at"),
            F.max("first_updated_at").alias("last_updated_at"),
        )
        .withColumns(
            {
                "session_end": F.col("last.timestamp"),
                "duration_seconds": _seconds("session_start", "last.timestamp"),
                "first_action": F.col("first.event_id"),
                "last_action": F.col("last.event_id"),
                "start_date": F.to_date("session_start"),
            }
        )
        .select(*SUMMARY_COLUMNS)
    )


def _seconds(start: str, end: str) -> Column:
    return (F.unix_micros(end) - F.unix_micros(start)) / F.lit(1_000_000.0)


def compared(before: DataFrame, after: DataFrame) -> DataFrame:
    """Compare the stored summaries of some sessions with those that they should have.

    Args:
        before: `SUMMARY_COLUMNS` as stored, and `row_address`; each session once.
        after: `SUMMARY_COLUMNS`; each session once.

    Returns:
        One row per session of either: `SUMMARY_COLUMNS` as they should be, or as stored if the session is no more;
        `was_there`, `is_there`, TIMESTAMP `end_before` (NULL: not stored), `row_address`, and `change` (inserted,
        changed or removed; NULL: the two are equal).
    """
    old, new = F.col("old"), F.col("new")
    stored = before.select("session_id", F.struct(*_OTHERS).alias("old"), "row_address")
    joined = stored.join(after.select("session_id", F.struct(*_OTHERS).alias("new")), "session_id", "full")
    change = F.when(new.isNull(), F.lit(DELETE)).when(old.isNull(), F.lit(INSERT)).when(old != new, F.lit(UPDATE))
    values = F.coalesce(new, old)
    return joined.select(
        "session_id",
        *[values[name].alias(name) for name in _OTHERS],
        old.isNotNull().alias("was_there"),
        new.isNotNull().alias("is_there"),
        old["session_end"].alias("end_before"),
        "row_address",
        change.alias("change"),
    )
