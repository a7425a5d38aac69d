"""JSON lines: one object a line, as rows of strings.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse), R20 (an empty file is an empty
batch), R23 (attributes).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.landing.batches import DeliveryError
from sessions_assets.landing.rows import (
    Source,
    check_names,
    lines_at_the_beginning,
    opened,
    plain_name,
    read_lines,
    rows_of_text,
    with_values,
)
from sessions_assets.rule.events import IDENTITY_COLUMNS, INVALID_UTF8, UNPARSABLE_ROW

_OPTIONS = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
# A number that the parser would write in another way: 7.10, 1e3, -0.
_HAS_OTHER_NUMBERS = r'(?:"\s*+:|[\[,])\s*-?(?:[0-9]+[.eE]|0)'
# The next number of a line that is in no string: whatever is before it, and the number.
_NO_STRING, _STRING = r'[^"0-9-]*+', r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# What is followed by a colon would be the name of a value, which no number can be.
_NEXT_NUMBER = rf"\G({_NO_STRING}(?:{_STRING}{_NO_STRING})*+)({_NUMBER})(?![0-9.eE+-]|\s*:)"
# Before a number that was made a string. No source has these letters in front of a number.
_MARK, _ESCAPED_MARK = "\u0001#\u0001", r"\\u0001#\\u0001"
_LONE_SURROGATE = (
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
# Columns that are text or a number, but not an object, a list, true or false.
_ID_COLUMNS = tuple(column for column in IDENTITY_COLUMNS if column != "timestamp")


@dataclass(frozen=True)
class JsonLayout:
    """What a file of JSON lines looks like; files of one layout are read together.

    Attributes:
        is_folder: the file is in a folder named by the day, rather than named by the day itself.
    """

    is_folder: bool


def json_layout(source: Source) -> JsonLayout:
    """Make sure that a file has objects with the four columns, by as many of its lines as it takes.

    Raises:
        DeliveryError: it cannot be read, has no object, or lacks a column; the message names the file.
    """
    names: dict[str, None] = {}
    lines = 0
    with opened(source) as stream:
        for line in lines_at_the_beginning(stream, errors="replace"):
            lines += 1
            names |= dict.fromkeys(_names(line))
            if set(IDENTITY_COLUMNS) <= {plain_name(name) for name in names}:
                break
    if lines and not names:
        raise DeliveryError(f"{source.file}: no JSON object in its {lines} lines: expected one a line")
    if lines:
        check_names(source.file, tuple(names))
    return JsonLayout(source.is_folder)


def _names(line: str) -> list[str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return []  # the row is refused when the file is read
    return list(row) if isinstance(row, dict) else []


def read_json(spark: SparkSession, layout: JsonLayout, files: Sequence[str]) -> DataFrame:
    """Return the rows of files, as `readers.read_rows` describes them."""
    lines = read_lines(spark, files, is_folder=layout.is_folder)
    lines = lines.withColumn("value", F.ltrim("value", F.lit("\ufeff")))
    # The parser gives numbers as it would write them itself: those of other spellings are read as text.
    is_marked = F.col("value").rlike(_HAS_OTHER_NUMBERS)
    as_text = F.regexp_replace("value", _NEXT_NUMBER, rf'$1"{_ESCAPED_MARK}$2"')
    # As an array that ends in NULL: alone, the parser would ignore whatever follows the first object of a line.
    array = F.concat(F.lit("["), F.when(is_marked, as_text).otherwise(F.col("value")), F.lit(",null]"))
    rows = F.from_json(array, "array<map<string, string>>", _OPTIONS)
    lines = lines.withColumn("rows", rows)
    row = F.get("rows", F.lit(0))
    row = F.when(is_marked, F.transform_values(row, lambda _, value: _unmarked(value))).otherwise(row)
    lines = lines.withColumn("row", row)
    lines = lines.withColumn("others", F.map_filter("row", lambda name, _: ~_plain(name).isin(*IDENTITY_COLUMNS)))
    columns = {column: _value(column) for column in IDENTITY_COLUMNS}
    # Most rows have no other column.
    attributes = F.when(F.size("others") > 0, with_values(F.col("others")))
    parse_error = F.when(_has_lone_surrogate(), F.lit(INVALID_UTF8)).when(_is_broken(columns), F.lit(UNPARSABLE_ROW))
    return rows_of_text(lines, columns, attributes, parse_error)


def _unmarked(value: Column) -> Column:
    is_nested = F.left(value, F.lit(1)).isin("{", "[")
    return (
        F.when(F.startswith(value, F.lit(_MARK)), F.substring(value, len(_MARK) + 1, 2**31 - 1))
        .when(is_nested, F.regexp_replace(value, rf'"{_ESCAPED_MARK}({_NUMBER})"', "$1"))
        .otherwise(value)
    )


def _has_lone_surrogate() -> Column:
    # Half of a letter is none; Spark would make a question mark of it. Two backslashes are one, and begin nothing.
    without_backslashes = F.regexp_replace("value", r"\\\\", "")
    return F.col("value").contains("\\u") & without_backslashes.rlike(_LONE_SURROGATE)


def _is_broken(columns: dict[str, Column]) -> Column:
    """Return whether a line is not exactly one object, has a name twice, or has an id that is no text and no number."""
    is_one = (F.size("rows") == 2) & F.get("rows", F.lit(1)).isNull()  # noqa: PLR2004 - the object and the NULL
    has_twice = F.size(F.array_distinct(F.map_keys("row"))) != F.size("row")
    texts = [columns[column] for column in _ID_COLUMNS]
    seems_other = reduce(Column.__or__, [F.left(t, F.lit(1)).isin("{", "[") | t.isin("true", "false") for t in texts])
    typed = F.map_entries(F.from_json("value", "map<string, variant>", _OPTIONS))
    is_other = F.exists(
        typed,
        lambda entry: (
            _plain(entry["key"]).isin(*_ID_COLUMNS)
            & F.schema_of_variant(entry["value"]).rlike("^(?:OBJECT|ARRAY|BOOLEAN)")
        ),
    )
    no = F.lit(False)  # noqa: FBT003 - Spark has no other way
    is_odd = F.coalesce(has_twice, no) | F.coalesce(_is_ambiguous(), no) | F.coalesce(F.when(seems_other, is_other), no)
    return F.col("row").isNull() | ~is_one | is_odd


def _value(column: str) -> Column:
    # Almost always the name is spelled as it should be.
    return F.coalesce(F.col("row")[column], F.get(_spelled(column), F.lit(0))["value"])


def _spelled(column: str) -> Column:
    return F.filter(F.map_entries("row"), lambda entry: _plain(entry["key"]) == column)


def _is_ambiguous() -> Column:
    """Return whether a row has one of the four columns in two spellings."""
    each = [F.col("row")[column].isNotNull() for column in IDENTITY_COLUMNS]
    has_four = F.size("row") - F.size("others") == len(IDENTITY_COLUMNS)
    twice = reduce(Column.__or__, [F.size(_spelled(column)) > 1 for column in IDENTITY_COLUMNS])
    return F.when(~reduce(Column.__and__, each, has_four), twice)


def _plain(name: Column) -> Column:
    return F.lower(F.trim(name))
