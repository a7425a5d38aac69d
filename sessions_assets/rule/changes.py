"""Changes: the stored rows that a batch inserts, changes or removes, and no others.

DataFrame in, DataFrame out. Must not know Delta, paths, Dagster or what day it is.
Source of the rules: R1 (first arrival day), R14 to R17, R19, R24.
"""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.rule.carried import VALUE_COLUMNS
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.sessions import delivered_timeline, microseconds_between, sessionize

INSERT, UPDATE, DELETE = "inserted", "changed", "removed"


def held_elsewhere(stored_of_days: DataFrame, batch: DataFrame, other_raw: DataFrame) -> DataFrame:
    """Return the rows of other days that hold an event which its first arrival day holds no more (R17).

    Args:
        stored_of_days: stored rows whose `first_updated_at` is one of the days that are applied.
        batch: accepted rows of those days, with `_updated_at`.
        other_raw: accepted rows of all other days, with `_updated_at`.
    """
    of_its_day = stored_of_days.select(*IDENTITY_COLUMNS, F.col("first_updated_at").alias(ARRIVAL_DAY))
    vanished = of_its_day.join(batch, [*IDENTITY_COLUMNS, ARRIVAL_DAY], "left_anti")
    return other_raw.join(vanished.select(*IDENTITY_COLUMNS), [*IDENTITY_COLUMNS], "left_semi")


def earliest_changes(touched: DataFrame) -> DataFrame:
    """Return for each key of the days the time `since`, before which none of its rows can change (R14).

    Args:
        touched: rows of the batch, and stored rows whose first arrival day is one of the days: it may have lost them.

    Returns:
        One row per key: `user_id`, `product_code`, `since`.
    """
    return touched.groupBy(*KEY_COLUMNS).agg(F.min("timestamp").alias("since"))


def changes(
    incoming: DataFrame, stored: DataFrame, since: DataFrame, days: Sequence[date], rule: SessionRule
) -> DataFrame:
    """Return the rows of the stored sessions that these days change, and only those (R14 to R17, R19).

    Args:
        incoming: the four event columns, DATE `_updated_at` and `carried`: rows of `days`, and rows that hold a
            vanished event elsewhere; repeats allowed.
        stored: stored rows, `SESSION_COLUMNS`, `VALUE_COLUMNS` and `row_address`; those before the earliest
            `since` - T may be left out.
        since: the result of `earliest_changes`.
        days: the arrival days that are applied.
        rule: timeouts and user actions, those the stored rows were computed with.

    Returns:
        `SESSION_COLUMNS`, `VALUE_COLUMNS`, `change` (inserted, changed or removed), `row_address`,
        `stored_session_start` and `stored_first_updated_at` (NULL where nothing was stored), and `stored_session`: the
        greatest stored session start of the key's rows up to the time of the row.
    """
    timeline = delivered_timeline(incoming, rule).unionByName(_stored_context(stored, since, days, rule))
    rows = sessionize(timeline, rule).where(~F.col("is_seed"))
    return rows.withColumn("change", _change()).where(F.col("change").isNotNull())


def _stored_context(stored: DataFrame, since: DataFrame, days: Sequence[date], rule: SessionRule) -> DataFrame:
    is_seed = F.col("timestamp") < F.col("since")
    can_change = F.col("timestamp") >= F.col("since")
    seeds_a_session = F.col("is_user_action") & (microseconds_between("timestamp", "since") <= rule.microseconds())
    # A day that is applied again holds only what is in its batch now; any other day still holds what it brought.
    # As an array: Spark writes a single date into the code that it generates, and would compile that again each day.
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
            *VALUE_COLUMNS,
            "row_address",
        )
    )


def _change() -> Column:
    differs = ~F.col("first_updated_at").eqNullSafe(F.col("stored_first_updated_at")) | ~F.col(
        "session_start"
    ).eqNullSafe(F.col("stored_session_start"))
    differs |= F.col("has_other_values")
    return (
        F.when(~F.col("is_held"), F.lit(DELETE)).when(~F.col("is_stored"), F.lit(INSERT)).when(differs, F.lit(UPDATE))
    )
