"""JSON lines: one object a line, as rows of strings.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse), R20 (an empty file is an empty
batch), R23 (attributes).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

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
)
from sessions_assets.rule.events import IDENTITY_COLUMNS


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
    # As an array that ends in NULL: alone, the parser would ignore whatever follows the first object of a line.
    array = F.concat(F.lit("["), "value", F.lit(",null]"))
    rows = F.from_json(array, "array<map<string, string>>", {"allowSingleQuotes": "false"})
    lines = read_lines(spark, files, is_folder=layout.is_folder)
    lines = lines.withColumn("rows", rows).withColumn("row", F.get("rows", F.lit(0)))
    is_one = (F.size("rows") == 2) & F.get("rows", F.lit(1)).isNull()  # noqa: PLR2004 - the object and the NULL
    columns = {column: _value(column) for column in IDENTITY_COLUMNS}
    return rows_of_text(lines, columns, _attributes(), F.col("row").isNull() | ~is_one)


def _value(column: str) -> Column:
    spelled = F.filter(F.map_entries("row"), lambda entry: _plain(entry["key"]) == column)
    # Almost always the name is spelled as it should be.
    return F.coalesce(F.col("row")[column], F.get(spelled, F.lit(0))["value"])


def _attributes() -> Column:
    has_no_other = F.size("row") == len(IDENTITY_COLUMNS)
    for column in IDENTITY_COLUMNS:
        has_no_other &= F.col("row")[column].isNotNull()
    others = F.map_filter("row", lambda name, value: value.isNotNull() & ~_plain(name).isin(*IDENTITY_COLUMNS))
    return F.when(~has_no_other & (F.size(others) > 0), others)


def _plain(name: Column) -> Column:
    return F.lower(F.trim(name))
