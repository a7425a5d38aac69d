"""CSV files: their header and quotes, and their records as rows of strings.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse), R23 (attributes).
"""

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import dropwhile
from typing import TextIO
from urllib.parse import unquote

from pyspark.cloudpickle import register_pickle_by_value
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.landing import records
from sessions_assets.landing.records import BACKSLASH, RFC_4180, Dialect
from sessions_assets.landing.rows import (
    ATTRIBUTES_TYPE,
    Source,
    TextLayout,
    attributes_of,
    check_names,
    columns_of_events,
    is_padded,
    lines_of,
    opened,
    origin,
    read_lines,
    read_text,
    reading,
    rows_of_text,
    texts,
    with_values,
    with_workers_of_this_python,
)
from sessions_assets.rule.events import UNPARSABLE_ROW
from sessions_assets.rule.input_format import InputFormat

# White space belongs to the field. What is empty without quotes is NULL: no text can equal this noncharacter by chance.
_CSV_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "malformed", "nullValue": "\ufdd0"}
_MOST_COLUMNS = 20480
"""What Spark's parser takes unless it is told otherwise."""
_MANY_COLUMNS = 200
"""An expression for each of more columns would take Spark longer to plan than the rows to be read."""
_PART = 1 << 20
_PARTS_ON_DISK = 256
"""How much of a file is looked through for a quote with its header, in mebibytes: one without a quote needs no more.

On a disk that takes a moment; what has to be sent or decompressed is left to Spark after the first part.
"""
_MARK = "\ufeff"

# Spark's workers need not have this package.
register_pickle_by_value(records)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Quotes:
    """How a CSV file uses quotes.

    Attributes:
        are_absent: the file surely has none.
        are_plain: no line ends inside a quoted field, and none needs another dialect than RFC 4180.
        span_lines: a line ends inside a quoted field.
        dialects: how quoted fields are written; the first is preferred.
    """

    are_absent: bool = False
    are_plain: bool = True
    span_lines: bool = False
    dialects: tuple[Dialect, Dialect] = (RFC_4180, BACKSLASH)


@dataclass(frozen=True)
class CsvLayout(TextLayout):
    """What a CSV file looks like; files of one layout are read together.

    Attributes:
        header: the header, which may span lines.
        names: the column names in it.
        separator: between fields.
        quotes: how it uses quotes; None: not known yet.
    """

    header: str
    names: tuple[str, ...]
    separator: str
    quotes: Quotes | None


def csv_layout(source: Source, separator: str) -> CsvLayout:
    """Read the header of a file.

    Raises:
        DeliveryError: it cannot be read, or lacks a column; the message names the file and what was expected.
    """
    with opened(source) as stream:
        lines = dropwhile(lambda line: not line.strip(), map(records.without_marks, lines_of(stream)))
        header = next(records.records(lines, None, separator), b"").decode()
        names = _names(header, separator)
        check_names(source.file, names, source.input_format)
        is_on_disk = source.file.startswith("file:") and source.file.endswith((".csv", ".tsv"))
        padded = is_padded(source)
        has_no_quote = '"' not in header and _has_no_quote(stream, _PARTS_ON_DISK if is_on_disk else 1)
    quotes = Quotes(are_absent=True) if has_no_quote else None
    return CsvLayout(source.is_folder, padded, header, names, separator, quotes)


def _has_no_quote(stream: TextIO, parts: int) -> bool:
    """Return whether a file surely has no quote, by as many parts as may be read."""
    for part in (stream.read(_PART) for _ in range(parts)):
        if '"' in part or len(part) < _PART:
            return '"' not in part
    return False


def _names(header: str, separator: str) -> tuple[str, ...]:
    for dialect in (RFC_4180, BACKSLASH):
        if names := dialect.split(header, separator):
            return tuple(names) if header else ()
    return tuple(next(csv.reader([header], delimiter=separator), ()))


def with_quotes(spark: SparkSession, layouts: Mapping[str, CsvLayout]) -> dict[str, CsvLayout]:
    """Return the layouts of files, with how each file uses quotes: one pass over those that have any.

    Raises:
        DeliveryError: a file cannot be read; the message names it.
    """
    unknown = {file: layout for file, layout in layouts.items() if layout.quotes is None}
    if not unknown:
        return dict(layouts)
    known = {_plain_path(file): file for file in unknown}
    groups: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for file, layout in unknown.items():
        groups[layout.separator, layout.is_padded].append(file)
    odd = [_odd_quotes(spark, unknown[files[0]], files) for _, files in sorted(groups.items())]
    with reading():
        rows = reduce(DataFrame.unionAll, odd).collect()
    found = {known[_plain_path(unquote(row["file"]))]: row for row in rows}
    return {**layouts, **{file: replace(unknown[file], quotes=_quotes(found.get(file))) for file in unknown}}


def _plain_path(file: str) -> str:
    # Spark and fsspec do not write as many slashes.
    return re.sub("^file:/+", "file:/", file)


def _odd_quotes(spark: SparkSession, layout: CsvLayout, files: Sequence[str]) -> DataFrame:
    """Return the files with a line that is no record of RFC 4180, and what its quotes are instead."""
    separator = layout.separator
    lines = read_text(spark, layout, files)
    # The quick tests first: most lines need no pattern.
    quoted = lines.where(F.contains("value", F.lit('"'))).where(~_ends_a_field(separator))
    odd = quoted.where(~_is(RFC_4180.record(separator)))
    begins = _is(RFC_4180.beginning(separator))
    return odd.groupBy("file").agg(
        F.bool_or(begins | _is(BACKSLASH.beginning(separator))).alias("span_lines"),
        F.bool_or(~begins & _is(BACKSLASH.record(separator))).alias("has_backslashes"),
    )


def _ends_a_field(separator: str) -> Column:
    """Return whether a line surely ends with the closing quote of a field: where it begins, there is no text before."""
    opening = [F.endswith("value", F.lit(f'{before}"')) for before in (separator, '"', _MARK)]
    others = [F.octet_length("value") == 1, F.contains("value", F.lit('\\"'))]
    return F.endswith("value", F.lit('"')) & ~reduce(Column.__or__, opening + others)


def _quotes(odd: Row | None) -> Quotes:
    if odd is None:
        return Quotes()
    dialects = (BACKSLASH, RFC_4180) if odd["has_backslashes"] else (RFC_4180, BACKSLASH)
    return Quotes(are_plain=False, span_lines=odd["span_lines"], dialects=dialects)


def _is(pattern: str) -> Column:
    return F.rlike("value", F.lit(rf"\A{_MARK}*+(?:{pattern})\z"))


def read_csv(spark: SparkSession, layout: CsvLayout, files: Sequence[str], input_format: InputFormat) -> DataFrame:
    """Return the rows of files, as `readers.read_rows` describes them."""
    quotes = layout.quotes or Quotes()
    # Without joining them all cores read a large file.
    lines = _joined_lines(spark, layout, quotes, files) if quotes.span_lines else read_lines(spark, layout, files)
    lines = lines.where(F.ltrim("value", F.lit(_MARK)) != layout.header)
    lines = lines.withColumn("row", _row(layout, quotes))
    is_broken = F.col("row").isNull() | F.col("row.malformed").isNotNull()
    if not quotes.are_absent:
        is_broken |= _has_stray_quote(layout, quotes)
    spelled = check_names(files[0], layout.names, input_format)
    positions = {column: layout.names.index(name) for column, name in spelled.items()}
    columns = columns_of_events(input_format, lambda column: F.col(f"row._{positions[column]}"))
    parse_error = F.when(is_broken, F.lit(UNPARSABLE_ROW))
    return rows_of_text(lines, columns, _attributes(layout.names, {*positions.values()}), parse_error)


def _joined_lines(spark: SparkSession, layout: CsvLayout, quotes: Quotes, files: Sequence[str]) -> DataFrame:
    """Return the records of files as `read_lines` returns lines; one core reads a file."""
    with_workers_of_this_python(spark)
    # Bytes, not strings: those that are not UTF-8 stay what they are on their way through Python.
    lines = read_text(spark, layout, files, end="\n").withColumn("value", F.col("value").cast("binary"))
    in_order = lines.repartition(len(files), "file").sortWithinPartitions("file", "block", "position")
    join = partial(
        records.of_files,
        fields=len(layout.names),
        separator=layout.separator,
        header=layout.header.encode(),
        dialects=quotes.dialects,
    )
    with reading():
        joined = in_order.select("file", "value").rdd.mapPartitions(join)
    rows = spark.createDataFrame(joined, "file string, value binary", verifySchema=False)
    found = rows.select(F.col("value").cast("string"), *origin(F.col("file"), is_folder=layout.is_folder))
    return found.where(F.trim("value") != "")


def _row(layout: CsvLayout, quotes: Quotes) -> Column:
    """Return the fields of `value` as a struct; NULL if there are too many for the parser."""
    fields = [f"_{position} string" for position in range(len(layout.names))]
    most = max(_MOST_COLUMNS, len(fields))
    options = _CSV_OPTIONS | {"sep": layout.separator, "maxColumns": str(most)}
    # A longer one has most of its separators inside quotes, or too many.
    unquoted = F.regexp_replace("value", F.lit('"[^"]*+"'), F.lit(""))
    is_short = F.octet_length("value") < most
    fits = F.coalesce(F.when(is_short, is_short), _count(layout.separator, unquoted) < most)
    schema = ", ".join([*fields, "malformed string"])
    rfc = F.from_csv("value", schema, options | {"escape": RFC_4180.escape})
    if quotes.are_plain:
        return F.when(fits, rfc)
    backslashed = F.from_csv("value", schema, options | {"escape": BACKSLASH.escape})
    return F.when(fits, F.when(_is_backslashed(layout, quotes), backslashed).otherwise(rfc))


def _has_stray_quote(layout: CsvLayout, quotes: Quotes) -> Column:
    """Return whether quotes do not come in pairs, in a row that was read by RFC 4180; NULL if there are none."""
    # The parser closes a quote that the line leaves open, and would return a truncated field.
    is_odd = _count('"', F.col("value")) % 2 == 1
    has_quote = F.contains("value", F.lit('"'))
    if not quotes.are_plain:
        return F.when(has_quote, ~_is_backslashed(layout, quotes) & is_odd)
    # No quote is left open. A stray one is then found in a field, and to count them takes longer.
    fields = [f"row._{position}" for position in range(len(layout.names))]
    if len(fields) <= _MANY_COLUMNS:
        has_quote = reduce(Column.__or__, [F.contains(field, F.lit('"')) for field in fields])
    return F.when(has_quote, is_odd)


def _is_backslashed(layout: CsvLayout, quotes: Quotes) -> Column:
    """Return whether a record is read with backslashes: the preferred dialect of those in which it is valid."""
    first, second = (_is(dialect.record(layout.separator, len(layout.names))) for dialect in quotes.dialects)
    has_quote = F.contains("value", F.lit('"'))
    return has_quote & (first if quotes.dialects[0] is BACKSLASH else ~first & second)


def _count(character: str, text: Column) -> Column:
    return F.octet_length(text) - F.octet_length(F.replace(text, F.lit(character), F.lit("")))


def _attributes(names: Sequence[str], used: set[int]) -> Column:
    """Return the columns that are no columns of an event, which are at these positions."""
    others = {name: i for i, name in enumerate(_unique(names)) if i not in used}
    if len(others) > _MANY_COLUMNS:
        return _many_attributes(names, used)
    return attributes_of(list(others), [F.col(f"row._{position}") for position in others.values()])


def _many_attributes(names: Sequence[str], used: set[int]) -> Column:
    of_event = [f"_{position}" for position in sorted(used)]
    fields = F.map_filter(
        F.to_variant_object("row").cast(ATTRIBUTES_TYPE),
        lambda field, _: F.startswith(field, F.lit("_")) & ~field.isin(of_event),
    )
    unique = texts(_unique(names))
    named = F.transform_keys(fields, lambda field, _: F.get(unique, F.substring(field, 2, 9).cast("int")))
    return with_values(named)


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, a repeated one as `name.1`, `name.2`: a map has each once."""
    unique: dict[str, None] = {}
    for name in names:
        free = (f"{name}.{number}" if number else name for number in range(len(names) + 1))
        unique[next(candidate for candidate in free if candidate not in unique)] = None
    return list(unique)
