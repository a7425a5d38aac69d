"""What a daily job with a fixed window does: the keys of the last days recomputed, and all their rows merged.

Its known errors are mended, so that it comes to the same table: the gap is measured between actions, and the left edge
continues the session that is stored.
"""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from benchmarks.lakes import LATENESS_DAYS
from benchmarks.recomputes import sessions_sql
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets_tests.lakes import Lake

_COLUMNS = ("user_id", "event_id", "product_code", "timestamp")
_KEYS = ["user_id", "product_code"]


def merge_window(lake: Lake, day: date) -> None:
    """Recompute the keys of the last five days, seeded by the actions of the sixth, and MERGE all their rows."""
    first = day - timedelta(days=LATENESS_DAYS)
    _recomputed(lake, first, day).createOrReplaceTempView("recomputed")
    same = " AND ".join(f"ods.{c} = new.{c}" for c in (*_COLUMNS, "pdate"))
    lake.spark.sql(
        f"MERGE INTO delta.`{lake.path(ODS_SESSIONS)}` AS ods USING recomputed AS new "
        f"ON {same} AND ods.pdate >= DATE'{first}' WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )


def _recomputed(lake: Lake, first: date, day: date) -> DataFrame:
    raw = lake.read(RAW_EVENTS).where(F.col("_updated_at").between(first, day))
    keys = raw.where(F.to_date("timestamp") >= first).select(*_KEYS).distinct()
    stored = lake.read(ODS_SESSIONS).where(F.col("pdate") >= first - timedelta(days=1)).join(keys, _KEYS)
    seeds = stored.where((F.col("pdate") < first) & F.col("is_user_action"))
    known = stored.where((F.col("pdate") >= first) | F.col("is_user_action"))
    arrived = known.select(*_COLUMNS, F.col("first_updated_at").alias("_updated_at"))
    raw.select(*_COLUMNS, "_updated_at").unionByName(arrived).createOrReplaceTempView("window_events")
    computed = lake.spark.sql(
        sessions_sql("SELECT * FROM window_events", "unix_micros", "date_format(session_start, 'yyyy-MM-dd HH:mm:ss')")
    )
    return _mended(computed, seeds).where(F.col("pdate") >= first)


def _mended(computed: DataFrame, seeds: DataFrame) -> DataFrame:
    """Restore the stored start of a session that began before the sixth day."""
    edge = seeds.groupBy(*_KEYS, F.col("session_start").alias("stored_start")).agg(
        F.min("timestamp").alias("session_start")
    )
    stored_id = F.concat_ws("#", *_KEYS, F.date_format("stored_start", "yyyy-MM-dd HH:mm:ss"))
    return computed.join(edge, [*_KEYS, "session_start"], "left").select(
        *_COLUMNS,
        "is_user_action",
        F.when(F.col("stored_start").isNull(), F.col("session_id")).otherwise(stored_id).alias("session_id"),
        F.coalesce("stored_start", "session_start").alias("session_start"),
        "first_updated_at",
        "pdate",
    )
