"""Parquet files: their columns and types, and their rows as strings.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse), R23 (attributes).
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.cloudpickle import register_pickle_by_value
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once
from pyspark.sql.types import BinaryType, DataType, LongType, StructField, StructType

from sessions_assets.landing import decimals
from sessions_assets.landing.batches import DeliveryError
from sessions_assets.landing.rows import (
    Source,
    attributes_of,
    check_names,
    columns_of_events,
    first_line,
    literal_path,
    origin,
    reading,
    shown,
    with_workers_of_this_python,
)
from sessions_assets.rule.events import INVALID_UTF8, quoted
from sessions_assets.rule.input_format import InputFormat

_CODECS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "LZ4_RAW"}
_NESTED = re.compile(r"struct|array|map|variant")
# What Spark says of a file with a column that it does not read.
_UNREAD_TYPE = re.compile(
    r"PARQUET_TYPE_\w+|UNSUPPORTED_TIME_TYPE|ILLEGAL_PARQUET|Unrecognized Parquet type|DECIMAL_PRECISION_EXCEEDS"
)
_PER_SECOND = {"MILLIS": 1000, "MICROS": 1_000_000, "NANOS": 1_000_000_000}
# Spark's own formats end with the milliseconds.
_TIMES_AS_JSON = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
"""Of the years 1 to 9999, since 1970."""

# Spark's workers need not have this package.
register_pickle_by_value(decimals)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class ParquetLayout:
    """What a Parquet file looks like; files of one layout are read together.

    Attributes:
        schema: how Spark reads the columns, as JSON; it may differ from file to file.
        kinds: of each column that Spark does not read by itself, or not safely, what the file says that it is, such as
            `TIMESTAMP(MILLIS,true)`; "" of the others.
        is_folder: the file is in a folder named by the day, rather than named by the day itself.
    """

    schema: str
    kinds: tuple[str, ...]
    is_folder: bool

    @property
    def struct(self) -> StructType:
        """Return the schema as Spark has it."""
        return StructType.fromJson(json.loads(self.schema))


def parquet_layout(source: Source) -> ParquetLayout:
    """Read the footer of a file.

    Raises:
        DeliveryError: it cannot be read, lacks a column, or has one of the four nested; the message names the file.
    """
    try:
        with reading():
            schema, kinds = _schema(source)
    except (PySparkException, Py4JJavaError) as error:
        raise DeliveryError(f"{source.file} cannot be read: {first_line(error)}") from error
    spelled = check_names(source.file, schema.names, source.input_format)
    if twice := sorted(name for name, times in Counter(schema.names).items() if times > 1):
        raise DeliveryError(f"{source.file} has column {shown(twice)} twice: expected each once")
    found = {column: schema[name].dataType.simpleString() for column, name in spelled.items()}
    if nested := [f"{column} {kind}" for column, kind in found.items() if _NESTED.match(kind)]:
        raise DeliveryError(f"{source.file} has {', '.join(nested)}: expected text, numbers or times")
    return ParquetLayout(schema.json(), kinds, source.is_folder)


def _schema(source: Source) -> tuple[StructType, tuple[str, ...]]:
    footer = _footer(source.spark, source.file)
    if other := sorted(_codecs(footer) - _CODECS):
        expected = ", ".join(sorted(_CODECS)).lower()
        raise DeliveryError(f"{source.file} is compressed by {other[0].lower()}: expected one of {expected}")
    in_file = footer.getFileMetaData().getSchema()
    try:
        schema = source.spark.read.parquet(literal_path(source.file)).schema
    except (PySparkException, Py4JJavaError) as error:
        if not _UNREAD_TYPE.search(str(error)):
            raise
        schema = _schema_without_unread_types(source.spark, in_file)
    kinds = [_kind(in_file.getType(i)) if _may_be_special(f.dataType) else "" for i, f in enumerate(schema)]
    fields = [StructField(f.name, _read_as(f.dataType, k)) for f, k in zip(schema, kinds, strict=True)]
    return StructType(fields), tuple(kinds)


def _may_be_special(read_as: DataType) -> bool:
    # To ask Java costs more than all else where there are thousands of columns.
    return read_as.simpleString() in {"timestamp", "timestamp_ntz", "bigint", "int", "binary"}


def _kind(in_file: Any) -> str:  # noqa: ANN401 - a Java object
    """Return what the file says that a column is, if Spark takes it for a plain value, or fails at its extremes."""
    kind = str(in_file.getLogicalTypeAnnotation() or "")
    # Only a decimal of more digits than Spark has gets here: the others are read as decimals.
    is_special = kind.startswith(("TIMESTAMP", "TIME", "UUID", "DECIMAL"))
    return kind if is_special and not kind.startswith("TIMESTAMP(MICROS") else ""


def _read_as(found: DataType, kind: str) -> DataType:
    # Times in milliseconds would fail at a value that microseconds cannot hold, and with it the whole file.
    return LongType() if kind.startswith("TIMESTAMP") else found


def _footer(spark: SparkSession, file: str) -> Any:  # noqa: ANN401 - a Java object
    java: Any = spark._jvm  # noqa: SLF001 - Spark has no call for the schema that the file itself has
    path = java.org.apache.hadoop.fs.Path(file)
    conf = spark._jsparkSession.sessionState().newHadoopConf()  # noqa: SLF001
    parquet = java.org.apache.parquet.hadoop
    reader = parquet.ParquetFileReader.open(parquet.util.HadoopInputFile.fromPath(path, conf))
    try:
        return reader.getFooter()
    finally:
        reader.close()


def _codecs(footer: Any) -> set[str]:  # noqa: ANN401 - a Java object
    blocks = footer.getBlocks()
    # A writer compresses all columns alike.
    return {str(block.getColumns().get(0).getCodec().name()) for block in blocks if block.getColumns().size()}


def _schema_without_unread_types(spark: SparkSession, in_file: Any) -> StructType:  # noqa: ANN401 - a Java object
    """Return the schema of a file with columns that Spark does not read, as their bytes or plain numbers."""
    java: Any = spark._jvm  # noqa: SLF001 - Spark has no call to convert a type
    conf = spark._jsparkSession.sessionState().conf()  # noqa: SLF001
    converter = java.org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter(conf)
    types = java.org.apache.parquet.schema.Types

    def converted(field: Any) -> StructType:  # noqa: ANN401 - a Java object
        message = types.buildMessage().addField(field).named("file")
        return StructType.fromJson(json.loads(converter.convert(message).json()))

    def readable(field: Any) -> Any:  # noqa: ANN401 - a Java object
        if not field.isPrimitive():
            return field.withNewFields([readable(f) for f in field.getFields()])
        try:
            is_read = "time(" not in converted(field).simpleString()
        except (PySparkException, Py4JJavaError):
            is_read = False
        plain = types.primitive(field.getPrimitiveTypeName(), field.getRepetition()).length(field.getTypeLength())
        return field if is_read else plain.named(field.getName())

    return StructType([f for field in in_file.getFields() for f in converted(readable(field)).fields])


def read_parquet(
    spark: SparkSession, layout: ParquetLayout, files: Sequence[str], input_format: InputFormat
) -> DataFrame:
    """Return the rows of files, as `readers.read_rows` describes them."""
    schema = layout.struct
    rows = spark.read.schema(schema).parquet(*[literal_path(file) for file in files])
    spelled = check_names(files[0], schema.names, input_format)
    if any(kind.startswith("DECIMAL") for kind in layout.kinds):
        with_workers_of_this_python(spark)
    texts = {field.name: _text(field, kind) for field, kind in zip(schema, layout.kinds, strict=True)}
    columns = columns_of_events(input_format, lambda column: texts[spelled[column]])
    position = schema.names.index(spelled["timestamp"])
    event_time = _event_time(schema[position], layout.kinds[position])
    # Not through text, which would take most of the time of reading.
    columns["timestamp"] = F.when(event_time.isNull(), columns["timestamp"])
    has_bad_bytes = reduce(Column.__or__, [~F.is_valid_utf8(column) for column in columns.values()])
    others = {name: text for name, text in texts.items() if name not in spelled.values()}
    kinds = dict(zip(schema.names, layout.kinds, strict=True))
    shown = [(texts[name] if kinds[name] else F.col(quoted(name))).alias(name) for name in schema.names]
    # A file may have a column of that name itself.
    file = rows.metadataColumn("_metadata")["file_path"]
    return rows.select(
        *[column.alias(name) for name, column in columns.items()],
        event_time.alias("event_time"),
        _attributes(others).alias("attributes"),
        F.when(has_bad_bytes, F.lit(INVALID_UTF8)).alias("parse_error"),
        F.make_valid_utf8(F.to_json(F.struct(*shown), _TIMES_AS_JSON)).alias("raw_text"),
        *origin(file, is_folder=layout.is_folder),
    )


def _event_time(field: StructField, kind: str) -> Column:
    """Return the point in time that a column stores; NULL: it has another type, or shows the time of some zone.

    Of these NULL only if the text of the time says the same: one beyond the years 1 to 9999 is not shown as a time.
    """
    value = F.col(quoted(field.name))
    if kind.startswith("TIMESTAMP"):
        time = _time(value, kind)
        second = _floor_divided(value, _per_second(kind))
        return time if kind.endswith("true)") else F.when(~second.between(_FIRST_SECOND, _LAST_SECOND), time)
    match field.dataType.simpleString():
        case "timestamp":
            return value
        case "timestamp_ntz":
            time = value.cast("timestamp")
            return F.when(~F.year(value).between(1, 9999), time)
    return F.lit(None).cast("timestamp")


def _time(count: Column, kind: str) -> Column:
    """Return a number of milliseconds, microseconds or nanoseconds since 1970 as a time of the years 1 to 9999."""
    per_second = _per_second(kind)
    first, last = _FIRST_SECOND * per_second, (_LAST_SECOND + 1) * per_second - 1
    within = F.greatest(F.least(count, F.lit(min(last, 2**63 - 1))), F.lit(max(first, -(2**63))))
    return F.timestamp_micros(_floor_divided(within, 1000) if kind.startswith("TIMESTAMP(NANOS") else within * 1000)


def _floor_divided(value: Column, divisor: int) -> Column:
    return F.call_function("div", value, F.lit(divisor)) - F.when(value % divisor < 0, 1).otherwise(0)


def _per_second(kind: str) -> int:
    return _PER_SECOND[re.split(r"[(,]", kind)[1]]


def _text(field: StructField, kind: str) -> Column:
    value = F.col(quoted(field.name))
    if kind.startswith("TIMESTAMP"):
        return _text_of_time(value, kind)
    if kind.startswith("TIME"):
        per_second = _per_second(kind)
        seconds = F.timestamp_seconds(F.call_function("div", value, F.lit(per_second)))
        return F.concat(F.date_format(seconds, "HH:mm:ss"), _fraction(value, per_second))
    if kind.startswith("UUID"):
        return F.regexp_replace(F.lower(F.hex(value)), "^(.{8})(.{4})(.{4})(.{4})", "$1-$2-$3-$4-")
    if kind.startswith("DECIMAL"):
        scale = int(re.split(r"[(,)]", kind)[2])
        return F.udf(partial(decimals.text_of_decimal, scale=scale), "string", useArrow=False)(value)
    if isinstance(field.dataType, BinaryType):
        return value.cast("string")
    as_json = F.to_json(value, {**_TIMES_AS_JSON, "ignoreNullFields": "false"})
    return as_json if _NESTED.match(field.dataType.simpleString()) else value.cast("string")


def _text_of_time(count: Column, kind: str) -> Column:
    """Return the time as text with all its digits; the number itself if it is in no year of four digits."""
    per_second = _per_second(kind)
    second = _floor_divided(count, per_second)
    time = F.date_format(F.timestamp_seconds(second), "yyyy-MM-dd HH:mm:ss")
    text = F.concat(time, _fraction(count, per_second))
    return F.when(second.between(_FIRST_SECOND, _LAST_SECOND), text).otherwise(count.cast("string"))


def _fraction(count: Column, per_second: int) -> Column:
    digits = F.lpad(F.pmod(count, F.lit(per_second)).cast("string"), len(str(per_second)) - 1, "0")
    return F.rtrim(F.rtrim(F.concat(F.lit("."), digits), F.lit("0")), F.lit("."))


def _attributes(texts: dict[str, Column]) -> Column:
    in_hex = {name: F.concat(F.lit("0x"), F.hex(text.cast("binary"))) for name, text in texts.items()}
    values = [F.when(F.is_valid_utf8(text), text).otherwise(in_hex[name]) for name, text in texts.items()]
    return attributes_of(tuple(texts), values)
