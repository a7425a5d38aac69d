"""JSON lines: one object a line, as rows of strings.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse), R20 (an empty file is an empty
batch), R23 (attributes).
"""

import json
from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.landing.batches import DeliveryError
from sessions_assets.landing.rows import (
    Source,
    TextLayout,
    check_names,
    columns_of_events,
    entries_named,
    is_padded,
    lines_at_the_beginning,
    opened,
    plain,
    plain_name,
    read_lines,
    rows_of_text,
    value_named,
    with_values,
)
from sessions_assets.rule.events import IDENTITY_COLUMNS, INVALID_UTF8, UNPARSABLE_ROW
from sessions_assets.rule.input_format import InputFormat

_OPTIONS = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
# A number that the parser writes as it is: a whole one but -0, or a decimal one of few digits that is neither small nor
# long. It writes 7.10 as 7.1, 1e3 as 1000.0 and 0.0005 as 5.0E-4.
_USUAL_DECIMAL = r"-?(?:[1-9][0-9]{0,5}\.(?:0|[0-9]{0,5}[1-9])|0\.[1-9](?:[0-9]{0,5}[1-9])?)(?![0-9.eE+-])"
_HAS_OTHER_NUMBERS = rf'(?:"\s*+:|[\[,])\s*+(?!{_USUAL_DECIMAL}|0(?![0-9.eE+-]))-?(?:[0-9]+[.eE]|0)'
# The next number of a line that is in no string: whatever is before it, and the number.
_NO_STRING, _STRING = r'[^"0-9-]*+', r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# What is followed by a colon would be the name of a value, which no number can be.
_NEXT_NUMBER = rf"\G({_NO_STRING}(?:{_STRING}{_NO_STRING})*+)({_NUMBER})(?![0-9.eE+-]|\s*:)"
# Before a number that was made a string. A line that has this letter itself is refused: it could not be told apart.
_MARK, _ESCAPED_MARK = "\u0001", r"\\u0001"
_LONE_SURROGATE = (
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
# A text with more opening brackets that begins like an object or a list is taken for one.
_DEEPEST = 100


class JsonLayout(TextLayout):
    """What a file of JSON lines looks like."""


def json_layout(source: Source) -> JsonLayout:
    """Make sure that a file has objects with the four columns, by as many of its lines as it takes.

    Raises:
        DeliveryError: it cannot be read, has no object, or lacks a column; the message names the file.
    """
    names: dict[str, None] = {}
    wanted = {plain_name(name) for name in source.input_format.names(IDENTITY_COLUMNS).values()}
    lines = 0
    with opened(source) as stream:
        padded = is_padded(source)
        for line in lines_at_the_beginning(stream, errors="replace"):
            lines += 1
            names |= dict.fromkeys(_names(line))
            if wanted <= {plain_name(name) for name in names}:
                break
    if lines and not names:
        raise DeliveryError(f"{source.file}: no JSON object in its {lines} lines: expected one a line")
    if lines:
        check_names(source.file, tuple(names), source.input_format)
    return JsonLayout(source.is_folder, padded)


def _names(line: str) -> list[str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return []  # the row is refused when the file is read
    return list(row) if isinstance(row, dict) else []


def read_json(spark: SparkSession, layout: JsonLayout, files: Sequence[str], input_format: InputFormat) -> DataFrame:
    """Return the rows of files, as `readers.read_rows` describes them."""
    names = input_format.names(IDENTITY_COLUMNS)
    lines = read_lines(spark, layout, files)
    # Each step is used more than once by the next: as a column it is computed once.
    lines = lines.withColumn("value", F.ltrim("value", F.lit("\ufeff")))
    # The parser gives numbers as it would write them itself: those of other spellings are read as text.
    lines = lines.withColumn("is_marked", F.col("value").rlike(_HAS_OTHER_NUMBERS))
    as_text = F.regexp_replace("value", _NEXT_NUMBER, rf'$1"{_ESCAPED_MARK}$2"')
    # As an array that ends in NULL: alone, the parser would ignore whatever follows the first object of a line.
    array = F.concat(F.lit("["), F.when(F.col("is_marked"), as_text).otherwise(F.col("value")), F.lit(",null]"))
    lines = lines.withColumn("rows", F.from_json(array, "array<map<string, string>>", _OPTIONS))
    row = F.get("rows", F.lit(0))
    unmarked = F.transform_values(row, lambda _, value: _unmarked(value))
    lines = lines.withColumn("row", F.when(F.col("is_marked"), unmarked).otherwise(row))
    wanted = list({plain_name(name): name for name in names.values()}.values())
    lines = lines.withColumn("is_plain", _is_plain(wanted))
    others = F.map_filter("row", lambda name, _: ~plain(name).isin(*map(plain_name, wanted)))
    values = columns_of_events(input_format, lambda column: value_named(F.col("row"), names[column]))
    lines = lines.withColumns({"others": F.when(~F.col("is_plain"), others), **values})
    parse_error = (
        F.when(_has_lone_surrogate(), F.lit(INVALID_UTF8))
        .when(F.col("is_marked") & _without_backslashes().contains(r"\u0001"), F.lit(UNPARSABLE_ROW))
        .when(_is_broken(names, wanted), F.lit(UNPARSABLE_ROW))
    )
    columns = {column: F.col(column) for column in IDENTITY_COLUMNS}
    return rows_of_text(lines, columns, with_values(F.col("others")), parse_error)


def _is_plain(wanted: Sequence[str]) -> Column:
    """Return whether a row has the columns of an event, as they are spelled here, and no other: as of many logs."""
    each = [F.col("row")[name].isNotNull() for name in wanted]
    return F.coalesce(reduce(Column.__and__, each, F.size("row") == len(wanted)), F.lit(False))  # noqa: FBT003


def _unmarked(value: Column) -> Column:
    is_nested = F.left(value, F.lit(1)).isin("{", "[")
    return (
        F.when(F.startswith(value, F.lit(_MARK)), F.substring(value, len(_MARK) + 1, 2**31 - 1))
        .when(is_nested, F.regexp_replace(value, rf'"{_ESCAPED_MARK}({_NUMBER})"', "$1"))
        .otherwise(value)
    )


def _has_lone_surrogate() -> Column:
    # Half of a letter is none; Spark would make a question mark of it.
    return F.col("value").contains("\\u") & _without_backslashes().rlike(_LONE_SURROGATE)


def _without_backslashes() -> Column:
    # Two of them are one, and begin no escape.
    return F.regexp_replace("value", r"\\\\", "")


def _is_broken(names: Mapping[str, str], wanted: Sequence[str]) -> Column:
    """Return whether a line is not exactly one object, has a name twice, or has an id that is no text and no number."""
    is_one = (F.size("rows") == 2) & F.get("rows", F.lit(1)).isNull()  # noqa: PLR2004 - the object and the NULL
    has_twice = F.size(F.array_distinct(F.map_keys("row"))) != F.size("row")
    of_ids = {column: plain_name(name) for column, name in names.items() if column != "timestamp"}
    ids = [F.col(column) for column in of_ids]
    begins_so = [F.left(i, F.lit(1)).isin("{", "[") | i.isin("true", "false") for i in ids]
    seems_other = reduce(Column.__or__, begins_so, F.lit(False))  # noqa: FBT003
    typed = F.map_entries(F.from_json("value", "map<string, variant>", _OPTIONS))
    is_other = F.exists(
        typed,
        lambda entry: (
            plain(entry["key"]).isin(*of_ids.values())
            & F.schema_of_variant(entry["value"]).rlike("^(?:OBJECT|ARRAY|BOOLEAN)")
        ),
    )
    # Spark asks for the type of a deeper one until its stack is full, and the process ends.
    brackets = [F.length(F.regexp_replace(i, r"[^\[{]", "")) > _DEEPEST for i in ids]
    is_deep = reduce(Column.__or__, brackets, F.lit(False))  # noqa: FBT003
    is_other = F.when(is_deep, F.lit(True)).otherwise(is_other)  # noqa: FBT003
    is_repeated = F.when(~F.col("is_plain"), has_twice | F.coalesce(_is_ambiguous(wanted), F.lit(False)))  # noqa: FBT003
    odd = [F.coalesce(is_odd, F.lit(False)) for is_odd in (is_repeated, F.when(seems_other, is_other))]  # noqa: FBT003
    return F.col("row").isNull() | ~is_one | reduce(Column.__or__, odd)


def _is_ambiguous(wanted: Sequence[str]) -> Column:
    """Return whether a row has one of the columns of an event in two spellings."""
    each = [F.col("row")[name].isNotNull() for name in wanted]
    has_each = F.size("row") - F.size("others") == len(wanted)
    twice = reduce(Column.__or__, [F.size(entries_named(F.col("row"), name)) > 1 for name in wanted])
    return F.when(~reduce(Column.__and__, each, has_each), twice)
