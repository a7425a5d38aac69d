"""Full recomputes of the whole history in DuckDB, Polars and Spark, and the rule in the SQL that two of them share."""

from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
from pyspark.sql import functions as F  # noqa: N812

from benchmarks.lakes import RULE, session
from benchmarks.meters import Measured, measured, measured_on
from sessions_assets.rule.session_rule import SESSION_COLUMNS
from sessions_assets.rule.sessions import all_sessions

_TIMEOUT_MICROSECONDS = RULE.timeout // timedelta(microseconds=1)


def sessions_sql(events: str, micros: str, text: str) -> str:
    """Write the rule over all events in SQL.

    Args:
        events: a query for the four columns and `_updated_at`.
        micros: the function that counts the microseconds of a timestamp.
        text: what writes a `session_start` as text.
    """
    keys = "PARTITION BY user_id, product_code ORDER BY timestamp, is_user_action DESC, event_id"
    return f"""
        WITH distinct_events AS (
            SELECT user_id, event_id, product_code, timestamp, event_id IN ('a', 'b', 'c') AS is_user_action,
                min(_updated_at) AS first_updated_at
            FROM ({events}) AS delivered GROUP BY 1, 2, 3, 4
        ), with_actions AS (
            SELECT *,
                max(CASE WHEN is_user_action THEN timestamp END)
                    OVER ({keys} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_action,
                max(CASE WHEN is_user_action THEN timestamp END)
                    OVER ({keys} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS latest_action
            FROM distinct_events
        ), with_starts AS (
            SELECT *, max(CASE WHEN is_user_action AND (previous_action IS NULL
                    OR {micros}(timestamp) - {micros}(previous_action) > {_TIMEOUT_MICROSECONDS}) THEN timestamp END)
                OVER ({keys} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS start
            FROM with_actions
        ), with_sessions AS (
            SELECT *, CASE WHEN {micros}(timestamp) - {micros}(latest_action) <= {_TIMEOUT_MICROSECONDS}
                THEN start END AS session_start
            FROM with_starts
        )
        SELECT user_id, event_id, product_code, timestamp, is_user_action,
            user_id || '#' || product_code || '#' || {text} AS session_id,
            session_start, first_updated_at, CAST(timestamp AS DATE) AS pdate
        FROM with_sessions
    """


def by_duckdb(folder: Path, output: Path) -> Measured:
    """Recompute the whole history in DuckDB, from Parquet to Parquet."""
    files = f"""SELECT user_id, event_id, product_code, make_timestamp(epoch_us(timestamp)) AS timestamp,
        CAST(parse_filename(filename, true) AS DATE) AS _updated_at
        FROM read_parquet('{folder}/landing/*.parquet', filename = true)"""
    query = sessions_sql(files, "epoch_us", "strftime(session_start, '%Y-%m-%d %H:%M:%S')")
    with measured() as found:
        duckdb.connect().execute(f"COPY ({query}) TO '{output}' (FORMAT parquet)")
    return found


def by_polars(folder: Path, output: Path) -> Measured:
    """Recompute the whole history in Polars, from Parquet to Parquet."""
    with measured() as found:
        events = pl.scan_parquet(f"{folder}/landing/*.parquet", include_file_paths="file")
        _polars_sessions(events).collect(engine="streaming").write_parquet(output)
    return found


def _polars_sessions(events: pl.LazyFrame) -> pl.LazyFrame:
    keys, action = ["user_id", "product_code"], pl.col("is_user_action")
    timeout, at_action = pl.duration(microseconds=_TIMEOUT_MICROSECONDS), pl.when(action).then(pl.col("timestamp"))
    previous, since = pl.col("previous_action"), pl.col("timestamp") - pl.col("previous_action")
    starts = pl.when(action & (previous.is_null() | (since > timeout))).then(pl.col("timestamp"))
    is_inside = pl.col("timestamp") - pl.col("latest_action") <= timeout
    written = pl.col("session_start").dt.strftime("%Y-%m-%d %H:%M:%S")
    return (
        events.with_columns(_updated_at=pl.col("file").str.extract(r"(\d{4}-\d{2}-\d{2})\.parquet$").str.to_date())
        .group_by("user_id", "event_id", "product_code", "timestamp")
        .agg(first_updated_at=pl.col("_updated_at").min())
        .with_columns(is_user_action=pl.col("event_id").is_in(["a", "b", "c"]))
        .sort([*keys, "timestamp", "is_user_action", "event_id"], descending=[False, False, False, True, False])
        .with_columns(
            previous_action=at_action.forward_fill().shift(1).over(keys),
            latest_action=at_action.forward_fill().over(keys),
        )
        .with_columns(start=starts.forward_fill().over(keys))
        .with_columns(session_start=pl.when(is_inside).then(pl.col("start")))
        .select(
            "user_id", "event_id", "product_code", "timestamp", "is_user_action",
            pl.concat_str("user_id", "product_code", written, separator="#").alias("session_id"),
            "session_start", "first_updated_at", pl.col("timestamp").dt.date().alias("pdate"),
        )
    )  # fmt: skip


def by_spark(folder: Path, output: Path) -> Measured:
    """Recompute the whole history on Spark, from Parquet to Delta, in a session that has done it once before."""
    spark = session()
    day = F.regexp_extract(F.input_file_name(), r"(\d{4}-\d{2}-\d{2})\.parquet$", 1).cast("date")
    events = spark.read.parquet(f"{folder}/landing").withColumn("_updated_at", day)

    def write() -> None:
        all_sessions(events, RULE).select(*SESSION_COLUMNS).write.format("delta").mode("overwrite").save(str(output))

    write()
    return measured_on(spark, write)
