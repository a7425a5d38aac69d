"""Parquet files: their columns and types, and their rows as strings.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse), R23 (attributes).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.landing.batches import DeliveryError
from sessions_assets.landing.rows import (
    ATTRIBUTES_TYPE,
    Source,
    check_names,
    literal_path,
    origin,
    plain_name,
    quoted,
    reading,
)
from sessions_assets.rule.events import INVALID_UTF8

_NESTED = re.compile(r"struct|array|map|variant")


@dataclass(frozen=True)
class ParquetLayout:
    """What a Parquet file looks like; files of one layout are read together.

    Attributes:
        types: of each column its name and type, which may differ from file to file.
        counts_nanoseconds: the timestamp is in nanoseconds, which Spark reads as a plain number.
        is_folder: the file is in a folder named by the day, rather than named by the day itself.
    """

    types: tuple[tuple[str, str], ...]
    counts_nanoseconds: bool
    is_folder: bool


def parquet_layout(source: Source) -> ParquetLayout:
    """Read the footer of a file.

    Raises:
        DeliveryError: it cannot be read, lacks a column, or has a nested one; the message names the file.
    """
    try:
        with reading():
            types = source.spark.read.parquet(literal_path(source.file)).dtypes
    except PySparkException as error:
        raise DeliveryError(f"{source.file} cannot be read: {str(error).partition(chr(10))[0]}") from error
    spelled = check_names(source.file, [name for name, _ in types])
    kinds = {column: dict(types)[name] for column, name in spelled.items()}
    if nested := [f"{column} {kind}" for column, kind in kinds.items() if _NESTED.match(kind)]:
        raise DeliveryError(f"{source.file} has {', '.join(nested)}: expected text, numbers or times")
    counts_nanoseconds = "bigint" in kinds.values() and _counts_nanoseconds(source.spark, source.file)
    return ParquetLayout(tuple(types), counts_nanoseconds, source.is_folder)


def _counts_nanoseconds(spark: SparkSession, file: str) -> bool:
    # Spark reads them as BIGINT, like any other whole number.
    java: Any = spark._jvm  # noqa: SLF001 - Spark has no call for the schema that the file itself has
    path = java.org.apache.hadoop.fs.Path(file)
    conf = spark._jsparkSession.sessionState().newHadoopConf()  # noqa: SLF001
    parquet = java.org.apache.parquet.hadoop
    reader = parquet.ParquetFileReader.open(parquet.util.HadoopInputFile.fromPath(path, conf))
    try:
        fields = reader.getFooter().getFileMetaData().getSchema().getFields()
    finally:
        reader.close()
    return any(plain_name(field.getName()) == "timestamp" and "TIMESTAMP(NANOS" in str(field) for field in fields)


def read_parquet(spark: SparkSession, layout: ParquetLayout, files: Sequence[str]) -> DataFrame:
    """Return the rows of files, as `readers.read_rows` describes them."""
    rows = spark.read.parquet(*[literal_path(file) for file in files])
    types = dict(layout.types)
    spelled = check_names(files[0], tuple(types))
    columns = {column: F.col(quoted(name)) for column, name in spelled.items()}
    event_time = F.lit(None).cast("timestamp")
    if layout.counts_nanoseconds:
        event_time = F.timestamp_micros(F.call_function("div", columns["timestamp"], F.lit(1000)))
    elif types[spelled["timestamp"]].startswith("timestamp"):
        event_time = columns["timestamp"].cast("timestamp")
    # Not through text, which would take most of the time of reading.
    columns["timestamp"] = F.when(event_time.isNull(), columns["timestamp"])
    columns = {c: column.cast("string") for c, column in columns.items()}
    has_bad_bytes = reduce(Column.__or__, [~F.is_valid_utf8(column) for column in columns.values()])
    return rows.select(
        *[column.alias(name) for name, column in columns.items()],
        event_time.alias("event_time"),
        _attributes([name for name in types if name not in spelled.values()]).alias("attributes"),
        F.when(has_bad_bytes, F.lit(INVALID_UTF8)).alias("parse_error"),
        F.make_valid_utf8(F.to_json(F.struct(*[F.col(quoted(name)) for name in types]))).alias("raw_text"),
        *origin(is_folder=layout.is_folder),
    )


def _attributes(names: Sequence[str]) -> Column:
    if not names:
        return F.lit(None).cast(ATTRIBUTES_TYPE)
    texts = [F.col(quoted(name)).cast("string") for name in names]
    return F.map_filter(
        F.map_from_arrays(F.array(*map(F.lit, names)), F.array(*texts)), lambda _, value: value.isNotNull()
    )
