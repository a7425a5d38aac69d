"""Ways to the same table: ours, and what a user would pick instead. Each does the daily work on the same batches.

Usage: python -m benchmarks.rivals NAME FOLDER REPEATS

FOLDER holds `landing`, and `history`: our lake with all days but the last three applied. The two days before the last
one warm up what needs it. Prints one line of JSON for each repeat.
"""

import shutil
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from benchmarks.meters import Measured, as_json, counted_by_spark, measured
from sessions_assets.applications import apply
from sessions_assets.deliveries import land
from sessions_assets.lake import Lake
from sessions_assets.landing import Landing
from sessions_assets.resources import SparkResource
from sessions_assets.sessions import SessionRule, all_sessions
from sessions_assets.tables import ODS_SESSIONS, RAW_EVENTS

LATENESS_DAYS = 5
RULE = SessionRule()
TIMEOUT_MICROSECONDS = RULE.timeout // timedelta(microseconds=1)


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
                    OR {micros}(timestamp) - {micros}(previous_action) > {TIMEOUT_MICROSECONDS}) THEN timestamp END)
                OVER ({keys} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS start
            FROM with_actions
        ), with_sessions AS (
            SELECT *, CASE WHEN {micros}(timestamp) - {micros}(latest_action) <= {TIMEOUT_MICROSECONDS}
                THEN start END AS session_start
            FROM with_starts
        )
        SELECT user_id, event_id, product_code, timestamp, is_user_action,
            user_id || '#' || product_code || '#' || {text} AS session_id,
            session_start, first_updated_at, CAST(timestamp AS DATE) AS pdate
        FROM with_sessions
    """


# --- One machine, everything anew


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
    keys, action = ["user_id", "product_code"], pl.col("is_user_action")
    timeout, at_action = pl.duration(microseconds=TIMEOUT_MICROSECONDS), pl.when(action).then(pl.col("timestamp"))
    previous, since = pl.col("previous_action"), pl.col("timestamp") - pl.col("previous_action")
    with measured() as found:
        events = pl.scan_parquet(f"{folder}/landing/*.parquet", include_file_paths="file")
        rows = (
            events.with_columns(_updated_at=pl.col("file").str.extract(r"(\d{4}-\d{2}-\d{2})\.parquet$").str.to_date())
            .group_by("user_id", "event_id", "product_code", "timestamp")
            .agg(first_updated_at=pl.col("_updated_at").min())
            .with_columns(is_user_action=pl.col("event_id").is_in(["a", "b", "c"]))
            .sort([*keys, "timestamp", "is_user_action", "event_id"], descending=[False, False, False, True, False])
            .with_columns(
                previous_action=at_action.forward_fill().shift(1).over(keys),
                latest_action=at_action.forward_fill().over(keys),
            )
            .with_columns(
                start=pl.when(action & (previous.is_null() | (since > timeout)))
                .then(pl.col("timestamp"))
                .forward_fill()
                .over(keys)
            )
            .with_columns(
                session_start=pl.when(pl.col("timestamp") - pl.col("latest_action") <= timeout).then(pl.col("start"))
            )
            .select(
                "user_id", "event_id", "product_code", "timestamp", "is_user_action",
                pl.concat_str(
                    "user_id", "product_code", pl.col("session_start").dt.strftime("%Y-%m-%d %H:%M:%S"), separator="#"
                ).alias("session_id"),
                "session_start", "first_updated_at", pl.col("timestamp").dt.date().alias("pdate"),
            )
        )  # fmt: skip
        rows.collect(engine="streaming").write_parquet(output)
    return found


# --- Spark and Delta


def _spark() -> SparkSession:
    return SparkResource(master="local[*]").spark_session


def days_of(folder: Path) -> list[date]:
    """Name the days with a batch."""
    return sorted(date.fromisoformat(path.stem) for path in (folder / "landing").glob("*.parquet"))


def by_ours(folder: Path, output: Path) -> Measured:
    """Land and apply the last day, in a session that has done two days before."""
    shutil.copytree(folder / "history", output)
    lake, landing = Lake(_spark(), str(output)), Landing(str(folder / "landing"))

    def one(day: date) -> None:
        land(lake, landing, [day], LATENESS_DAYS)
        apply(lake, [day], RULE)

    *warm_up, last = days_of(folder)[-3:]
    for day in warm_up:
        one(day)
    return _with_delta(lake, lambda: one(last))


def by_ours_again(folder: Path, output: Path) -> Measured:
    """Land and apply a day that is applied already."""
    by_ours(folder, output)
    lake, last = Lake(_spark(), str(output)), days_of(folder)[-1]

    def again() -> None:
        land(lake, Landing(str(folder / "landing")), [last], LATENESS_DAYS)
        apply(lake, [last], RULE)

    return _with_delta(lake, again)


def by_fixed_window(folder: Path, output: Path) -> Measured:
    """Recompute the keys of the last five days, seeded by the actions of the sixth, and MERGE them all.

    Its known errors are mended, so that it comes to the same table: the gap is measured between actions, and the left
    edge continues the session that is stored.
    """
    shutil.copytree(folder / "history", output)
    spark = _spark()
    lake, landing = Lake(spark, str(output)), Landing(str(folder / "landing"))
    table = lake.path(ODS_SESSIONS)
    spark.sql(f"ALTER TABLE delta.`{table}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')")

    def one(day: date) -> None:
        land(lake, landing, [day], LATENESS_DAYS)
        _merge_window(lake, day)

    *warm_up, last = days_of(folder)[-3:]
    for day in warm_up:
        one(day)
    return _with_delta(lake, lambda: one(last))


def _merge_window(lake: Lake, day: date) -> None:
    first = day - timedelta(days=LATENESS_DAYS)
    raw = lake.read(RAW_EVENTS).where(F.col("_updated_at").between(first, day))
    keys = raw.where(F.to_date("timestamp") >= first).select("user_id", "product_code").distinct()
    stored = lake.read(ODS_SESSIONS).where(F.col("pdate") >= first - timedelta(days=1))
    seeds = stored.where((F.col("pdate") < first) & F.col("is_user_action")).join(keys, ["user_id", "product_code"])
    columns = ["user_id", "event_id", "product_code", "timestamp"]
    window = raw.select(*columns, F.col("_updated_at")).unionByName(
        stored.where(F.col("pdate") >= first)
        .join(keys, ["user_id", "product_code"])
        .select(*columns, F.col("first_updated_at").alias("_updated_at"))
    )
    known = seeds.select(*columns, F.col("first_updated_at").alias("_updated_at"))
    window.unionByName(known).createOrReplaceTempView("window_events")
    computed = lake.spark.sql(
        sessions_sql("SELECT * FROM window_events", "unix_micros", "date_format(session_start, 'yyyy-MM-dd HH:mm:ss')")
    )
    # The left edge: a session that began before the sixth day keeps its stored start.
    edge = seeds.groupBy("user_id", "product_code", F.col("session_start").alias("stored_start")).agg(
        F.min("timestamp").alias("session_start")
    )
    mended = computed.join(edge, ["user_id", "product_code", "session_start"], "left").select(
        *columns,
        "is_user_action",
        F.when(F.col("stored_start").isNull(), F.col("session_id"))
        .otherwise(
            F.concat_ws("#", "user_id", "product_code", F.date_format(F.col("stored_start"), "yyyy-MM-dd HH:mm:ss"))
        )
        .alias("session_id"),
        F.coalesce("stored_start", "session_start").alias("session_start"),
        "first_updated_at",
        "pdate",
    )
    mended.where(F.col("pdate") >= first).createOrReplaceTempView("recomputed")
    same = " AND ".join(f"ods.{c} = new.{c}" for c in (*columns, "pdate"))
    lake.spark.sql(
        f"MERGE INTO delta.`{lake.path(ODS_SESSIONS)}` AS ods USING recomputed AS new "
        f"ON {same} AND ods.pdate >= DATE'{first}' WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )


def by_spark(folder: Path, output: Path) -> Measured:
    """Recompute the whole history on Spark, from Parquet to Delta."""
    spark = _spark()
    events = _delivered(spark, folder)

    def write() -> None:
        all_sessions(events, RULE).write.format("delta").mode("overwrite").save(str(output))

    write()
    with measured() as found:
        found.counted = counted_by_spark(spark, write)
    return found


def _delivered(spark: SparkSession, folder: Path) -> DataFrame:
    files = spark.read.parquet(f"{folder}/landing")
    day = F.regexp_extract(F.input_file_name(), r"(\d{4}-\d{2}-\d{2})\.parquet$", 1).cast("date")
    return files.withColumn("_updated_at", day)


def _with_delta(lake: Lake, work: Callable[[], None]) -> Measured:
    before = lake.version(ODS_SESSIONS)
    with measured() as found:
        found.counted = counted_by_spark(lake.spark, work)
    table = DeltaTable(lake.path(ODS_SESSIONS))
    merges = [commit for commit in table.history(1) if commit["version"] > before]
    for commit in merges:
        metrics = {name: int(value) for name, value in commit["operationMetrics"].items() if value.isdigit()}
        changed = sum(metrics[f"numTargetRows{kind}"] for kind in ("Inserted", "Updated", "Deleted"))
        found.counted |= {
            "rows changed": changed,
            "rows copied": metrics["numTargetRowsCopied"],
            "files written": metrics["numTargetFilesAdded"],
        }
    found.counted["files in the table"] = len(table.file_uris())
    return found


RIVALS: dict[str, Callable[[Path, Path], Measured]] = {
    "ours": by_ours,
    "ours, once more": by_ours_again,
    "fixed window": by_fixed_window,
    "Spark, all anew": by_spark,
    "DuckDB, all anew": by_duckdb,
    "Polars, all anew": by_polars,
}


def main(name: str, folder: str, repeats: str) -> None:
    """Measure one rival, each time from the same start; its last table stays in FOLDER/results/NAME."""
    output = Path(folder) / "results" / name
    for _ in range(int(repeats)):
        if output.is_dir():
            shutil.rmtree(output)
        output.parent.mkdir(exist_ok=True)
        print(as_json(RIVALS[name](Path(folder), output)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
