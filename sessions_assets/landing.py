"""The landing: where batches lie, and how their files become rows of strings.

Knows file names, formats and headers, on any file system that fsspec and Spark share. Must not know what makes a
row a valid event, the Delta tables, or Dagster. Listing starts no JVM.
Source of the rules: S8 (a row the format cannot parse), S20 (empty and missing).
"""

import csv
import gzip
import hashlib
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import reduce
from itertools import islice
from pathlib import PurePosixPath
from typing import IO, Any

from fsspec.core import url_to_fs
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.events import ARRIVAL_DAY, IDENTITY_COLUMNS, INVALID_UTF8, UNPARSABLE_ROW

FORMATS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
ROW_COLUMNS = (*IDENTITY_COLUMNS, "defect", "raw_text", "source_file", ARRIVAL_DAY)

_Stream = IO[bytes] | gzip.GzipFile
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_FAILED_FILE = re.compile(r"\[FAILED_READ_FILE\b[^]]*\].*? file:? (\S+?)\.?\s")
_HEADER_BYTES = 1 << 20
_JSON_SAMPLE_LINES = 1000
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)
# RFC 4180: a quote inside a quoted field is doubled; white space belongs to the field.
_CSV_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "malformed", "escape": '"'}


class DeliveryError(Exception):
    """A batch that cannot be taken: missing, unreadable, ambiguous, or without a column. Says path and cause."""


@dataclass(frozen=True)
class Delivery:
    """One batch as it lies in the landing.

    Attributes:
        day: arrival day.
        source: the file or folder, below the landing.
        files: the files with events, as full addresses.
        fingerprint: changes whenever a file of the batch does.
    """

    day: date
    source: str
    files: tuple[str, ...]
    fingerprint: str

    @property
    def is_folder(self) -> bool:
        """Tell whether the files lie in a folder named by the day."""
        return not self.source.endswith(FORMATS)


@dataclass(frozen=True)
class Layout:
    """How the columns lie in a file; files of one layout are read together.

    Attributes:
        suffix: csv, jsonl or parquet.
        names: all column names as the file writes them, in its order.
        is_folder: the file lies in a folder named by the day, rather than being named by it.
        header: the header line of a csv file, else "".
    """

    suffix: str
    names: tuple[str, ...]
    is_folder: bool
    header: str = ""

    def position(self, column: str) -> int:
        """Find a column by its name, without regard to case and white space around it."""
        return [_plain(name) for name in self.names].index(column)

    @property
    def additional(self) -> tuple[str, ...]:
        """The names that are no columns of an event."""
        return tuple(name for name in self.names if _plain(name) not in IDENTITY_COLUMNS)


class Landing:
    """A folder or bucket prefix with batches named by their arrival day.

    Args:
        root: a folder or an address such as `s3://bucket/prefix`.
    """

    def __init__(self, root: str) -> None:
        self._files, self._root = url_to_fs(root)

    def address(self, name: str = "") -> str:
        """Give the full address of a name in the landing."""
        return str(self._files.unstrip_protocol("/".join(part for part in (self._root, name) if part)))

    def missing(self, day: date) -> str:
        """Say where a batch of this day was looked for (S20)."""
        return f"no batch of {day} in {self.address()}: looked for {day}[{'|'.join(FORMATS)}] and folder {day}/"

    def find(self, days: Collection[date]) -> dict[date, Delivery]:
        """Find the batches of these days; a day without one is left out.

        Raises:
            DeliveryError: no landing, two batches of one day, or a folder with something else in it.
        """
        names = {f"{day}{suffix}": day for day in days for suffix in ("", *FORMATS)}
        found: dict[date, Delivery] = {}
        for entry in self._list(self._root):
            name = PurePosixPath(entry["name"]).name
            if name not in names or (entry["type"] == "directory") != (_DAY.fullmatch(name) is not None):
                continue
            day = names[name]
            if day in found:
                both = f"{found[day].source} and {name}"
                raise DeliveryError(f"two batches of {day} in {self.address()}: {both}; keep one")
            found[day] = self._delivery(day, name, entry)
        return dict(sorted(found.items()))

    def _delivery(self, day: date, name: str, entry: Mapping[str, Any]) -> Delivery:
        files = [entry] if entry["type"] != "directory" else self._parts(name)
        addresses = tuple(str(self._files.unstrip_protocol(file["name"])) for file in files)
        marks = [f"{PurePosixPath(f['name']).name} {f['size']} {_version(f)}" for f in files]
        return Delivery(day, name, addresses, hashlib.sha256("\n".join(marks).encode()).hexdigest()[:32])

    def _parts(self, folder: str) -> list[Mapping[str, Any]]:
        entries = self._list(f"{self._root}/{folder}")
        # Spark and Hadoop mark folders with hidden files such as _SUCCESS and .part-0.crc.
        parts = [e for e in entries if not PurePosixPath(e["name"]).name.startswith(("_", "."))]
        strange = [e["name"] for e in parts if e["type"] == "directory" or not e["name"].endswith(FORMATS)]
        if strange or not parts:
            problem = f"holds {PurePosixPath(strange[0]).name}" if strange else "holds no file"
            expected = f"expected files ending in {', '.join(FORMATS)}"
            raise DeliveryError(f"{self.address(folder)} {problem}: {expected}")
        return parts

    def _list(self, folder: str) -> list[Mapping[str, Any]]:
        try:
            self._files.invalidate_cache(folder)
            return sorted(self._files.ls(folder, detail=True), key=lambda entry: str(entry["name"]))
        except FileNotFoundError as error:
            address = self._files.unstrip_protocol(folder)
            raise DeliveryError(f"{address} does not exist: expected a folder with batches") from error
        except NotADirectoryError as error:
            raise DeliveryError(f"{folder} is a file: expected a folder with batches") from error

    def layouts(self, spark: SparkSession, deliveries: Sequence[Delivery]) -> dict[Layout, list[str]]:
        """Look into each file for its columns and group the files that lie alike.

        Raises:
            DeliveryError: a file that cannot be read, or lacks a column; names the file and what was expected.
        """
        groups: dict[Layout, list[str]] = defaultdict(list)
        for delivery in deliveries:
            for file in delivery.files:
                try:
                    layout = self._layout(spark, file, is_folder=delivery.is_folder)
                except _UNREADABLE as error:
                    raise DeliveryError(f"{file} cannot be read: {_first_line(error)}") from error
                _check_columns(file, layout)
                groups[layout].append(file)
        return groups

    def _layout(self, spark: SparkSession, file: str, *, is_folder: bool) -> Layout:
        suffix = file.removesuffix(".gz").rsplit(".", 1)[-1]
        if suffix == "parquet":
            with reading():
                return Layout(suffix, tuple(spark.read.parquet(file).columns), is_folder)
        with self._files.open(file, "rb") as raw:
            stream: _Stream = gzip.GzipFile(fileobj=raw) if file.endswith(".gz") else raw
            if suffix == "jsonl":
                return Layout(suffix, _json_names(file, stream), is_folder)
            header = next(_lines(stream), "")
            return Layout(suffix, tuple(next(csv.reader([header]), ())), is_folder, header)


@contextmanager
def reading() -> Iterator[None]:
    """Turn Spark's failure to read a file into one sentence.

    Raises:
        DeliveryError: names the file.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        failed = _FAILED_FILE.search(str(error))
        if not failed:
            raise
        raise DeliveryError(f"{failed[1]} cannot be read: truncated, damaged or not what its name says") from error


def read_rows(spark: SparkSession, layouts: Mapping[Layout, Sequence[str]]) -> DataFrame:
    """Read files as rows of strings.

    Returns:
        `ROW_COLUMNS`: the four event columns as strings; `defect`, why the format could not give them, or NULL;
        `raw_text`, the row as it lies in the file (Parquet: as JSON); `source_file`; DATE `_updated_at`.
    """
    return reduce(DataFrame.unionByName, [_read(spark, layout, files) for layout, files in layouts.items()])


def _read(spark: SparkSession, layout: Layout, files: Sequence[str]) -> DataFrame:
    if layout.suffix == "parquet":
        return _read_parquet(spark, layout, files)
    lines = spark.read.text(list(files)).select("value", *_origin(layout)).where(F.trim("value") != "")
    if layout.suffix == "csv":
        # One line is one row, so that a stray quote spoils one row and not the rest of the file.
        lines = lines.where(F.ltrim("value", F.lit("\ufeff")) != layout.header)
        fields = [f"_{position} string" for position in range(len(layout.names))]
        row = F.from_csv("value", ", ".join([*fields, "malformed string"]), _CSV_OPTIONS)
        parsed = lines.withColumn("row", row)
        columns = [F.col(f"row._{layout.position(c)}").alias(c) for c in IDENTITY_COLUMNS]
        is_broken = F.col("row.malformed").isNotNull()
    else:
        # Inside brackets, anything after the first object of a line is an error rather than ignored.
        fields = [f"`{layout.names[layout.position(c)]}` string" for c in IDENTITY_COLUMNS]
        schema = f"array<struct<{', '.join(fields).replace('` string', '`: string')}>>"
        row = F.from_json(F.concat(F.lit("["), "value", F.lit("]")), schema, {"allowSingleQuotes": "false"})
        parsed = lines.withColumn("rows", row).withColumn("row", F.get("rows", F.lit(0)))
        columns = [F.col("row")[layout.names[layout.position(c)]].alias(c) for c in IDENTITY_COLUMNS]
        is_broken = F.col("row").isNull() | (F.size("rows") != 1)
    defect = F.when(~F.is_valid_utf8("value"), F.lit(INVALID_UTF8)).when(is_broken, F.lit(UNPARSABLE_ROW))
    raw_text = F.make_valid_utf8("value").alias("raw_text")
    return parsed.select(*columns, defect.alias("defect"), raw_text, "source_file", ARRIVAL_DAY)


def _read_parquet(spark: SparkSession, layout: Layout, files: Sequence[str]) -> DataFrame:
    rows = spark.read.parquet(*files)
    columns = [F.col(f"`{layout.names[layout.position(c)]}`").cast("string").alias(c) for c in IDENTITY_COLUMNS]
    raw_text = F.to_json(F.struct(*[F.col(f"`{name}`") for name in layout.names]))
    defect = F.lit(None).cast("string").alias("defect")
    return rows.select(*columns, defect, raw_text.alias("raw_text"), *_origin(layout))


def _origin(layout: Layout) -> list[Column]:
    path = F.split("_metadata.file_path", "/")
    named_by_day = F.element_at(path, -2 if layout.is_folder else -1)
    day = F.left(named_by_day, F.lit(len("yyyy-mm-dd"))).cast("date")
    return [F.col("_metadata.file_path").alias("source_file"), day.alias(ARRIVAL_DAY)]


def _plain(name: str) -> str:
    return name.strip().lower()


def _version(entry: Mapping[str, Any]) -> str:
    return str(entry.get("ETag") or entry.get("mtime"))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _lines(stream: _Stream) -> Iterator[str]:
    while line := stream.readline(_HEADER_BYTES):
        text = line.decode("utf-8-sig").rstrip("\r\n")
        if text.strip():
            yield text


def _json_names(file: str, stream: _Stream) -> tuple[str, ...]:
    """Name the columns of the first rows; a file without rows has the columns of an event (S20)."""
    names: dict[str, None] = {}
    sample = list(islice(_lines(stream), _JSON_SAMPLE_LINES))
    for line in sample:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the row goes to quarantine when the file is read
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
