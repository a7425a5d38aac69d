"""Readers: CSV, JSON lines and Parquet files as rows of strings.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse).
"""

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.landing.layouts import Layout, literal_path
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, INVALID_UTF8, UNPARSABLE_ROW

# RFC 4180: a quote inside a quoted field is doubled; white space belongs to the field.
_CSV_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "malformed", "escape": '"'}


def read_rows(spark: SparkSession, layouts: Mapping[Layout, Sequence[str]]) -> DataFrame:
    """Return the rows of files as strings.

    Returns:
        The four event columns as strings; TIMESTAMP `event_time`, NULL unless the file stores the timestamp with a
        type; `parse_error`, the reason why the row cannot be parsed, or NULL; `raw_text`, the text of the row (of a
        Parquet file, the row as JSON); `source_file`; DATE `_updated_at`.
    """
    readers = {"csv": _read_csv, "jsonl": _read_json, "parquet": _read_parquet}
    frames = [readers[layout.suffix](spark, layout, files) for layout, files in layouts.items()]
    return reduce(DataFrame.unionByName, frames)


def _read_csv(spark: SparkSession, layout: Layout, files: Sequence[str]) -> DataFrame:
    # One line is one row, so that a stray quote makes one row unparsable and not the rest of the file.
    lines = _read_lines(spark, layout, files).where(F.ltrim("value", F.lit("\ufeff")) != layout.header)
    fields = [f"_{position} string" for position in range(len(layout.names))]
    row = F.from_csv("value", ", ".join([*fields, "malformed string"]), _CSV_OPTIONS)
    columns = {c: F.col(f"row._{layout.position_of(c)}") for c in IDENTITY_COLUMNS}
    # The parser closes a quote that the line leaves open, and would return a truncated field.
    quotes = F.length("value") - F.length(F.replace("value", F.lit('"'), F.lit("")))
    has_open_quote = quotes % 2 == 1
    return _rows_of_lines(lines.withColumn("row", row), columns, F.col("row.malformed").isNotNull() | has_open_quote)


def _read_json(spark: SparkSession, layout: Layout, files: Sequence[str]) -> DataFrame:
    # As an array that ends in NULL: alone, the parser would ignore whatever follows the first object of a line.
    fields = ", ".join(f"{_quoted(layout.name_of(c))}: string" for c in IDENTITY_COLUMNS)
    array = F.concat(F.lit("["), "value", F.lit(",null]"))
    rows = F.from_json(array, f"array<struct<{fields}>>", {"allowSingleQuotes": "false"})
    lines = _read_lines(spark, layout, files).withColumn("rows", rows).withColumn("row", F.get("rows", F.lit(0)))
    is_one = (F.size("rows") == 2) & F.get("rows", F.lit(1)).isNull()  # noqa: PLR2004 - the object and the NULL
    columns = {c: F.col("row")[layout.name_of(c)] for c in IDENTITY_COLUMNS}
    return _rows_of_lines(lines, columns, F.col("row").isNull() | ~is_one)


def _read_lines(spark: SparkSession, layout: Layout, files: Sequence[str]) -> DataFrame:
    lines = spark.read.text([literal_path(file) for file in files])
    return lines.select("value", *_origin(layout)).where(F.trim("value") != "")


def _rows_of_lines(lines: DataFrame, columns: Mapping[str, Column], is_broken: Column) -> DataFrame:
    parse_error = F.when(~F.is_valid_utf8("value"), F.lit(INVALID_UTF8)).when(is_broken, F.lit(UNPARSABLE_ROW))
    return lines.select(
        *[column.alias(name) for name, column in columns.items()],
        F.lit(None).cast("timestamp").alias("event_time"),
        parse_error.alias("parse_error"),
        F.make_valid_utf8("value").alias("raw_text"),
        "source_file",
        ARRIVAL_DAY,
    )


def _read_parquet(spark: SparkSession, layout: Layout, files: Sequence[str]) -> DataFrame:
    rows = spark.read.parquet(*[literal_path(file) for file in files])
    columns = {c: F.col(_quoted(layout.name_of(c))) for c in IDENTITY_COLUMNS}
    event_time = F.lit(None).cast("timestamp")
    if layout.counts_nanoseconds:
        event_time = F.timestamp_micros(F.call_function("div", columns["timestamp"], F.lit(1000)))
    elif layout.types[layout.position_of("timestamp")].startswith("timestamp"):
        event_time = columns["timestamp"].cast("timestamp")
    # Not through text, which would take most of the time of reading.
    columns["timestamp"] = F.when(event_time.isNull(), columns["timestamp"])
    columns = {c: column.cast("string") for c, column in columns.items()}
    has_bad_bytes = reduce(Column.__or__, [~F.is_valid_utf8(column) for column in columns.values()])
    return rows.select(
        *[column.alias(name) for name, column in columns.items()],
        event_time.alias("event_time"),
        F.when(has_bad_bytes, F.lit(INVALID_UTF8)).alias("parse_error"),
        F.make_valid_utf8(F.to_json(F.struct(*[F.col(_quoted(name)) for name in layout.names]))).alias("raw_text"),
        *_origin(layout),
    )


def _origin(layout: Layout) -> list[Column]:
    path = F.split("_metadata.file_path", "/")
    named_by_day = F.element_at(path, -2 if layout.is_folder else -1)
    day = F.left(named_by_day, F.lit(len("yyyy-mm-dd"))).cast("date")
    return [F.col("_metadata.file_path").alias("source_file"), day.alias(ARRIVAL_DAY)]


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"
