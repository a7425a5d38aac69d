"""Rows of files: what all formats have in common, such as columns, names, paths, and the error of a file.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
"""

import csv
import json
import re
import sys
import zlib
from bz2 import BZ2File
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from gzip import GzipFile
from io import BufferedReader, RawIOBase, TextIOWrapper
from typing import IO, Any, TextIO
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.cloudpickle import register_pickle_by_value
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.landing import padded_gzip
from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS, INVALID_UTF8, WHITE_SPACE
from sessions_assets.rule.input_format import InputFormat

LONGEST_LINE = 1 << 28
"""In bytes: what is read at once of the beginning of a file."""

ATTRIBUTES_TYPE = "map<string, string>"

FILE_PATH = "_metadata.file_path"

_COMPRESSED = {"gz": "a gzip file", "bz2": "a bzip2 file", "zst": "a Zstandard file"}
_SIGNATURES = {
    b"\x1f\x8b": _COMPRESSED["gz"],
    b"BZh": _COMPRESSED["bz2"],
    b"\x28\xb5\x2f\xfd": _COMPRESSED["zst"],
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_LONGEST_SIGNATURE = 4
_UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)
_FAILED_FILE = re.compile(r"\[FAILED_READ_FILE\b[^]]*\].*? file:? (\S+?)\.?\s")
# What Spark says of a value: the classes 22 and 23 of SQLSTATE.
_FAILED_VALUE = re.compile(r"\[([A-Z_.]+)\] ((?:(?!SQLSTATE: ).)*?)\s*SQLSTATE: 2[23]\w{3}", re.DOTALL)
_NAMED_FILES = 3
_SHOWN = 500
_OF_PATTERNS = re.compile(r"[\[\]{}*?\\]")

# Spark's workers need not have this package.
register_pickle_by_value(padded_gzip)  # type: ignore[no-untyped-call]


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

    @property
    def input_format(self) -> InputFormat:
        """Return how the source delivers events."""
        return self.landing.input_format


@dataclass(frozen=True)
class TextLayout:
    """What a file of text looks like; files of one layout are read together.

    Attributes:
        is_folder: the file is in a folder named by the day, rather than named by the day itself.
        is_padded: zero bytes follow its gzip data, as on a tape: Spark would fail at its end.
    """

    is_folder: bool
    is_padded: bool


@contextmanager
def opened(source: Source) -> Iterator[TextIO]:
    """Open a file of text, decompressed; each character stands for one byte, so that any file can be looked at.

    Raises:
        DeliveryError: it cannot be read, or is not what its name says; the message names it.
    """
    try:
        with source.landing.open(source.file) as stream:
            text = BufferedReader(_decompressed(source, stream))
            _check_kind(text.peek(_LONGEST_SIGNATURE), "UTF-8 text")
            # Keeps all line ends as they are, that of CR alone too.
            yield TextIOWrapper(text, "latin-1", newline="")
    except (*_UNREADABLE, Py4JJavaError) as error:
        raise DeliveryError(f"{source.file} cannot be read: {first_line(error)}") from error


def _decompressed(source: Source, stream: IO[bytes]) -> Any:  # noqa: ANN401 - BufferedReader takes what reads bytes
    suffix = source.file.rpartition(".")[2]
    if suffix not in _COMPRESSED:
        return stream
    beginning = stream.read(_LONGEST_SIGNATURE)
    stream.seek(0)
    if not beginning:
        raise EOFError(f"no byte in it, not even those of an empty {_COMPRESSED[suffix]}")
    if (kind := _kind(beginning)) != _COMPRESSED[suffix]:
        raise EOFError(f"it is {kind or 'not compressed'}: expected {_COMPRESSED[suffix]}, as its name says")
    match suffix:
        case "gz":
            return GzipFile(fileobj=stream)
        case "bz2":
            return BZ2File(stream)
    return _Zstandard(source.spark, source.file)


class _Zstandard(RawIOBase):
    """A file that Spark's library decompresses: Python has none before 3.14."""

    def __init__(self, spark: SparkSession, file: str) -> None:
        java: Any = spark._jvm  # noqa: SLF001 - Spark has no call that opens a file
        conf = spark._jsparkSession.sessionState().newHadoopConf()  # noqa: SLF001
        path = java.org.apache.hadoop.fs.Path(file)
        self._stream = java.com.github.luben.zstd.ZstdInputStream(path.getFileSystem(conf).open(path))

    def readable(self) -> bool:
        """Return whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as io declares it
        """Read bytes into a buffer, and return how many."""
        found = self._stream.readNBytes(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._stream.close()
        super().close()


def is_padded(source: Source) -> bool:
    """Return whether a file that `opened` has opened is a gzip file that zero bytes follow."""
    if not source.file.endswith(".gz"):
        return False
    with source.landing.open(source.file) as stream:
        return padded_gzip.is_padded(stream)


def _check_kind(beginning: bytes, expected: str) -> None:
    if kind := _kind(beginning):
        raise EOFError(f"it is {kind}: expected {expected}, as its name says")


def _kind(beginning: bytes) -> str | None:
    return next((kind for signature, kind in _SIGNATURES.items() if beginning.startswith(signature)), None)


def lines_of(stream: TextIO) -> Iterator[bytes]:
    """Return the lines with their ends: LF, CR LF or CR."""
    while line := stream.readline(LONGEST_LINE):
        yield line.encode("latin-1")


def lines_at_the_beginning(stream: TextIO, errors: str) -> Iterator[str]:
    """Return the lines that are not blank, one after the other, as far as they are asked for."""
    for line in lines_of(stream):
        text = line.decode("utf-8", errors).lstrip("\ufeff").rstrip("\r\n")
        if text.strip():
            yield text


def check_names(file: str, names: Sequence[str], input_format: InputFormat) -> dict[str, str]:
    """Return for each column of an event, unless it is a constant, its name as the file spells it (R25).

    Case and white space around a name do not matter.

    Raises:
        DeliveryError: a column is missing or occurs twice; the message names file, column, and the names found.
    """
    wanted = input_format.names(IDENTITY_COLUMNS)
    spelled = {c: [n for n in names if plain_name(n) == plain_name(name)] for c, name in wanted.items()}
    missing = [column for column, found in spelled.items() if not found]
    twice = [column for column, found in spelled.items() if len(found) > 1]
    if missing or twice:
        problem = "lacks column" if missing else "has column"
        listed = ", ".join(_renamed(column, wanted[column]) for column in missing or twice)
        found = shown(names) or "no header"
        expected = f"expected {shown(list(dict.fromkeys(wanted.values())))}; found {found}"
        raise DeliveryError(f"{file} {problem} {listed}{'' if missing else ' twice'}: {expected}")
    return {column: found[0] for column, found in spelled.items()}


def _renamed(column: str, name: str) -> str:
    return name if name == column else f"{shown([name])} for {column}"


def columns_of_events(input_format: InputFormat, value: Callable[[str], Column]) -> dict[str, Column]:
    """Return the columns of an event: the delivered values, and constants (R25)."""
    constants = input_format.constants
    return {c: F.lit(constants[c]) if c in constants else value(c) for c in IDENTITY_COLUMNS}


def shown(names: Sequence[str]) -> str:
    """Return the names of columns as part of a sentence: what cannot be printed as escapes, of many the first."""
    text = ", ".join(names)
    first = "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text[:_SHOWN])
    return first if len(text) <= _SHOWN else f"{first} and more, {len(names)} in all"


def origin(file: Column, *, is_folder: bool) -> list[Column]:
    """Return the columns `source_file` and `_updated_at` of the rows of files with this path."""
    named_by_day = F.element_at(F.split(file, "/"), -2 if is_folder else -1)
    day = F.left(named_by_day, F.lit(len("yyyy-mm-dd"))).cast("date")
    # Spark writes an address as a URI; a plus sign is none of its escapes.
    decoded = F.when(F.contains(file, F.lit("%")), F.url_decode(F.replace(file, F.lit("+"), F.lit("%2B"))))
    return [F.coalesce(decoded, file).alias("source_file"), day.alias(ARRIVAL_DAY)]


def read_lines(spark: SparkSession, layout: TextLayout, files: Sequence[str]) -> DataFrame:
    """Return the lines of files that are not blank: `value`, `source_file`, `_updated_at`."""
    lines = read_text(spark, layout, files)
    return lines.select("value", *origin(F.col("file"), is_folder=layout.is_folder)).where(F.trim("value") != "")


def read_text(spark: SparkSession, layout: TextLayout, files: Sequence[str], end: str | None = None) -> DataFrame:
    """Return the lines of files: `file`, `value`, and where they are in it, `block` and `position`.

    Args:
        spark: which reads them.
        layout: of all of them.
        files: their addresses.
        end: of a line; None: LF, CR LF or CR.
    """
    paths = [literal_path(file) for file in files]
    if layout.is_padded:
        with_workers_of_this_python(spark)
        split = F.udf(partial(padded_gzip.lines, ends=end or "\r\n|\n|\r"), "array<binary>", useArrow=False)
        numbered = F.posexplode(split("content")).alias("position", "value")
        lines = spark.read.format("binaryFile").load(paths).select(F.col(FILE_PATH).alias("file"), numbered)
        return lines.withColumns({"value": F.col("value").cast("string"), "block": F.lit(0)})
    return spark.read.text(paths, lineSep=end).select(
        F.col(FILE_PATH).alias("file"),
        "value",
        F.col("_metadata.file_block_start").alias("block"),
        F.monotonically_increasing_id().alias("position"),
    )


def with_workers_of_this_python(spark: SparkSession) -> None:
    """Let the workers of this machine take the Python that runs already, whatever `python3` may be."""
    context = spark.sparkContext
    if str(context.master).startswith("local"):
        context.pythonExec = sys.executable


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
    # Of a row that has all values, as most have, a third of the time.
    has_all = reduce(Column.__and__, [value.isNotNull() for value in values])
    whole = F.create_map(*[part for name, value in zip(names, values, strict=True) for part in (F.lit(name), value)])
    return F.when(has_all, whole).otherwise(with_values(F.map_from_arrays(texts(names), F.array(*values))))


def with_values(attributes: Column) -> Column:
    """Return the entries of a map whose value is not NULL; NULL if there are none (R23)."""
    found = F.map_filter(attributes, lambda _, value: value.isNotNull())
    # In an array: written twice, it would be computed twice.
    return F.get(F.filter(F.array(found), lambda entries: F.size(entries) > 0), F.lit(0))


def texts(names: Sequence[str]) -> Column:
    """Return an array of texts as one constant."""
    return F.from_json(F.lit(json.dumps(list(names))), "array<string>")


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
            file = unquote(failed[1])
            raise DeliveryError(f"{file} cannot be read: truncated, damaged or not what its name says") from error
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
    # What Java says is not in the first line of py4j's own message.
    text = error.java_exception.toString() if isinstance(error, Py4JJavaError) else str(error)
    return str(text).strip().partition("\n")[0] or type(error).__name__


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


def plain(name: Column) -> Column:
    """Return names as `plain_name` does."""
    return F.lower(F.btrim(name, F.lit(WHITE_SPACE)))


def entries_named(values: Column, name: str) -> Column:
    """Return the entries of a map that have a name, in whatever case and white space."""
    return F.filter(F.map_entries(values), lambda entry: plain(entry["key"]) == plain_name(name))


def value_named(values: Column, name: str) -> Column:
    """Return the value that a map has under a name."""
    # Almost always the name is spelled as it should be.
    return F.coalesce(values[name], F.get(entries_named(values, name), F.lit(0))["value"])
