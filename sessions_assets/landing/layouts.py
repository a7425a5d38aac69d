"""Layouts: the columns and types of a file, and why a file is refused.

Reads the beginning of CSV and JSON files and the footer of Parquet files. Must not know what makes a row a valid
event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R8 (a file or row that the format cannot parse), R20 (an empty file is an empty batch).
"""

import csv
import gzip
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from sessions_assets.landing.batches import Delivery, DeliveryError, Landing
from sessions_assets.rule.events import IDENTITY_COLUMNS

_Stream = IO[bytes] | gzip.GzipFile
_HEADER_BYTES = 1 << 20
_JSON_SAMPLE_LINES = 1000
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)
_FAILED_FILE = re.compile(r"\[FAILED_READ_FILE\b[^]]*\].*? file:? (\S+?)\.?\s")
_NESTED = re.compile(r"struct|array|map|variant")


@dataclass(frozen=True)
class Layout:
    """The columns of a file; files of one layout are read together.

    Attributes:
        suffix: csv, jsonl or parquet.
        names: all column names as the file spells them, in its order.
        is_folder: the file is in a folder named by the day, rather than named by the day itself.
        header: the header line of a CSV file, else "".
        types: the types of the columns of a Parquet file, which may differ from file to file.
        counts_nanoseconds: the timestamp of a Parquet file is in nanoseconds, which Spark reads as a plain number.
    """

    suffix: str
    names: tuple[str, ...]
    is_folder: bool
    header: str = ""
    types: tuple[str, ...] = ()
    counts_nanoseconds: bool = False

    def name_of(self, column: str) -> str:
        """Return the name of a column as the file spells it; case and white space around it do not matter."""
        return self.names[self.position_of(column)]

    def position_of(self, column: str) -> int:
        """Return the position of a column."""
        return [_plain(name) for name in self.names].index(column)

    @property
    def additional(self) -> tuple[str, ...]:
        """Return the names of the columns that are not those of an event."""
        return tuple(name for name in self.names if _plain(name) not in IDENTITY_COLUMNS)


def layouts(spark: SparkSession, landing: Landing, deliveries: Sequence[Delivery]) -> dict[Layout, list[str]]:
    """Return the files of batches by their layout.

    Raises:
        DeliveryError: a file cannot be read, or lacks a column; the message names the file and what was expected.
    """
    groups: dict[Layout, list[str]] = defaultdict(list)
    for delivery in deliveries:
        for file in delivery.files:
            try:
                layout = _layout(spark, landing, file, is_folder=delivery.is_folder)
            except _UNREADABLE as error:
                raise DeliveryError(f"{file} cannot be read: {_first_line(error)}") from error
            _check_columns(file, layout)
            groups[layout].append(file)
    return groups


def _layout(spark: SparkSession, landing: Landing, file: str, *, is_folder: bool) -> Layout:
    suffix = file.removesuffix(".gz").rsplit(".", 1)[-1]
    if suffix == "parquet":
        return _parquet_layout(spark, file, is_folder=is_folder)
    with landing.open(file) as raw:
        stream: _Stream = gzip.GzipFile(fileobj=raw) if file.endswith(".gz") else raw
        if stream is not raw and not raw.read(1):
            raise EOFError("no byte in it, not even those of an empty gzip file")
        raw.seek(0)
        if suffix == "jsonl":
            return Layout(suffix, _json_names(file, stream), is_folder)
        header = next(_lines(stream, errors="strict"), "")
        return Layout(suffix, tuple(next(csv.reader([header]), ())), is_folder, header)


def _parquet_layout(spark: SparkSession, file: str, *, is_folder: bool) -> Layout:
    try:
        with reading():
            types = spark.read.parquet(literal_path(file)).dtypes
    except PySparkException as error:
        raise DeliveryError(f"{file} cannot be read: {_first_line(error)}") from error
    names = tuple(name for name, _ in types)
    layout = Layout("parquet", names, is_folder, types=tuple(kind for _, kind in types))
    return replace(layout, counts_nanoseconds=("bigint" in layout.types and _counts_nanoseconds(spark, file)))


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
    return any(_plain(field.getName()) == "timestamp" and "TIMESTAMP(NANOS" in str(field) for field in fields)


def _lines(stream: _Stream, errors: str) -> Iterator[str]:
    while line := stream.readline(_HEADER_BYTES):
        text = line.decode("utf-8-sig", errors).rstrip("\r\n")
        if text.strip():
            yield text


def _json_names(file: str, stream: _Stream) -> tuple[str, ...]:
    """Return the columns of the first rows; a file without rows has the columns of an event (R20)."""
    names: dict[str, None] = {}
    sample = list(islice(_lines(stream, errors="replace"), _JSON_SAMPLE_LINES))
    for line in sample:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the row is refused when the file is read
        names |= dict.fromkeys(row) if isinstance(row, dict) else {}
    if sample and not names:
        raise DeliveryError(f"{file}: no JSON object in its first {len(sample)} lines: expected one a line")
    return tuple(names or IDENTITY_COLUMNS)


def _check_columns(file: str, layout: Layout) -> None:
    plain = [_plain(name) for name in layout.names]
    missing = [column for column in IDENTITY_COLUMNS if column not in plain]
    twice = [column for column in IDENTITY_COLUMNS if plain.count(column) > 1]
    if missing or twice:
        problem = f"lacks column {', '.join(missing)}" if missing else f"has column {', '.join(twice)} twice"
        found = ", ".join(layout.names) or "no header"
        raise DeliveryError(f"{file} {problem}: expected {', '.join(IDENTITY_COLUMNS)}; found {found}")
    kinds = {c: layout.types[layout.position_of(c)] for c in IDENTITY_COLUMNS if layout.types}
    if nested := [f"{c} {kind}" for c, kind in kinds.items() if _NESTED.match(kind)]:
        raise DeliveryError(f"{file} has {', '.join(nested)}: expected text, numbers or times")


@contextmanager
def reading() -> Iterator[None]:
    """Raise one sentence when Spark fails to read a file.

    Raises:
        DeliveryError: the message names the file.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        failed = _FAILED_FILE.search(str(error))
        if not failed:
            raise
        raise DeliveryError(f"{failed[1]} cannot be read: truncated, damaged or not what its name says") from error


def literal_path(file: str) -> str:
    """Return a path that Hadoop does not take for a pattern."""
    # Hadoop would expand these characters, and read other files than the one that is named.
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", file)


def _plain(name: str) -> str:
    return name.strip().lower()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
