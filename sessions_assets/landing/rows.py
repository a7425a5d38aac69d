"""Rows of files: what all formats have in common, such as columns, names, paths, and the error of a file.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, INVALID_UTF8

LONGEST_LINE = 1 << 28
"""In bytes: what is read at once of the beginning of a file."""

ATTRIBUTES_TYPE = "map<string, string>"

_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)
_FAILED_FILE = re.compile(r"\[FAILED_READ_FILE\b[^]]*\].*? file:? (\S+?)\.?\s")
# What Spark says of a value: the classes 22 and 23 of SQLSTATE.
_FAILED_VALUE = re.compile(r"\[([A-Z_.]+)\] ((?:(?!SQLSTATE: ).)*?)\s*SQLSTATE: 2[23]\w{3}", re.DOTALL)
_NAMED_FILES = 3
_OF_PATTERNS = re.compile(r"[\[\]{}*?\\]")


@dataclass(frozen=True)
class Source:
    """A file of a batch.

    Attributes:
        spark: which reads it.
        landing: which opens it.
        file: full address.
        is_folder: the file is in a folder named by the day, rather than named by the day itself.
    """

    spark: SparkSession
    landing: Landing
    file: str
    is_folder: bool


@contextmanager
def opened(source: Source) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file of text, decompressed.

    Raises:
        DeliveryError: it cannot be read; the message names it.
    """
    try:
        with source.landing.open(source.file) as stream:
            if not source.file.endswith(".gz"):
                yield stream
                return
            if not stream.read(1):
                raise EOFError("no byte in it, not even those of an empty gzip file")
            stream.seek(0)
            yield gzip.GzipFile(fileobj=stream)
    except _UNREADABLE as error:
        raise DeliveryError(f"{source.file} cannot be read: {first_line(error)}") from error


def lines_at_the_beginning(stream: IO[bytes] | gzip.GzipFile, errors: str) -> Iterator[str]:
    """Return the lines that are not blank, one after the other, as far as they are asked for."""
    while line := stream.readline(LONGEST_LINE):
        text = line.decode("utf-8-sig", errors).rstrip("\r\n")
        if text.strip():
            yield text


def check_names(file: str, names: Sequence[str]) -> dict[str, str]:
    """Return for each column of an event its name as the file spells it; case and white space around do not matter.

    Raises:
        DeliveryError: a column is missing or occurs twice; the message names file, column, and the names found.
    """
    spelled: Mapping[str, list[str]] = {c: [n for n in names if plain_name(n) == c] for c in IDENTITY_COLUMNS}
    missing = [column for column, found in spelled.items() if not found]
    twice = [column for column, found in spelled.items() if len(found) > 1]
    if missing or twice:
        problem = f"lacks column {', '.join(missing)}" if missing else f"has column {', '.join(twice)} twice"
        found = ", ".join(names) or "no header"
        raise DeliveryError(f"{file} {problem}: expected {', '.join(IDENTITY_COLUMNS)}; found {found}")
    return {column: found[0] for column, found in spelled.items()}


def origin(rows: DataFrame, *, is_folder: bool) -> list[Column]:
    """Return the columns `source_file` and `_updated_at` of the rows of files."""
    # A file may have a column of that name itself.
    file = rows.metadataColumn("_metadata")["file_path"]
    named_by_day = F.element_at(F.split(file, "/"), -2 if is_folder else -1)
    day = F.left(named_by_day, F.lit(len("yyyy-mm-dd"))).cast("date")
    return [file.alias("source_file"), day.alias(ARRIVAL_DAY)]


def read_lines(spark: SparkSession, files: Sequence[str], *, is_folder: bool) -> DataFrame:
    """Return the lines of files that are not blank: `value`, `source_file`, `_updated_at`."""
    lines = spark.read.text([literal_path(file) for file in files])
    return lines.select("value", *origin(lines, is_folder=is_folder)).where(F.trim("value") != "")


def rows_of_text(lines: DataFrame, columns: Mapping[str, Column], attributes: Column, parse_error: Column) -> DataFrame:
    """Return the rows of lines: columns of an event and attributes, or the reason why a line is none."""
    reason = F.when(~F.is_valid_utf8("value"), F.lit(INVALID_UTF8)).otherwise(parse_error)
    return lines.select(
        *[column.alias(name) for name, column in columns.items()],
        F.lit(None).cast("timestamp").alias("event_time"),
        attributes.alias("attributes"),
        reason.alias("parse_error"),
        F.make_valid_utf8("value").alias("raw_text"),
        "source_file",
        ARRIVAL_DAY,
    )


def attributes_of(names: Sequence[str], values: Sequence[Column]) -> Column:
    """Return the values that are not NULL by their names; NULL if there are none (R23)."""
    if not names:
        return F.lit(None).cast(ATTRIBUTES_TYPE)
    delivered = F.map_from_arrays(F.array(*map(F.lit, names)), F.array(*values))
    found = F.map_filter(delivered, lambda _, value: value.isNotNull())
    return F.when(F.exists(F.array(*values), lambda value: value.isNotNull()), found)


@contextmanager
def reading(files: Sequence[str] = ()) -> Iterator[None]:
    """Raise one sentence when Spark fails to read a file, or a value in it.

    Args:
        files: those that are read, for an error in which Spark does not say which of them it is.

    Raises:
        DeliveryError: the message names the file, or the files of which it is one.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        text = str(error)
        if failed := _FAILED_FILE.search(text):
            raise DeliveryError(f"{failed[1]} cannot be read: truncated, damaged or not what its name says") from error
        if files and (value := _FAILED_VALUE.search(text)):
            raise DeliveryError(
                f"{named(files)} cannot be read: {value[2].partition(chr(10))[0]} [{value[1]}]"
            ) from error
        raise


def named(files: Sequence[str]) -> str:
    """Return the files as part of a sentence, of many of them the first."""
    more = f" and {len(files) - _NAMED_FILES} more" if len(files) > _NAMED_FILES else ""
    return ", ".join(files[:_NAMED_FILES]) + more


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def literal_path(file: str) -> str:
    """Return a path that Hadoop does not take for a pattern.

    Raises:
        DeliveryError: there is no such path; the message names the file.
    """
    if _OF_PATTERNS.search(file) and ":" in file.partition("://")[2]:
        raise DeliveryError(f"{file} cannot be read: expected no colon in a path with one of the characters []{{}}*?\\")
    # Hadoop would expand these characters, and read other files than the one that is named.
    return _OF_PATTERNS.sub(r"\\\g<0>", file)


def plain_name(name: str) -> str:
    """Return a column's name without case and white space around it."""
    return name.strip().lower()


def quoted(name: str) -> str:
    """Return a column's name as SQL takes it."""
    return f"`{name.replace('`', '``')}`"
