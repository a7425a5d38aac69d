"""CSV files: their header, and their lines as rows of strings.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse), R23 (attributes).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.landing.rows import (
    Source,
    attributes_of,
    check_names,
    lines_at_the_beginning,
    opened,
    read_lines,
    rows_of_text,
)
from sessions_assets.rule.events import IDENTITY_COLUMNS, UNPARSABLE_ROW

# RFC 4180: a quote inside a quoted field is doubled; white space belongs to the field.
_CSV_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "malformed", "escape": '"'}


@dataclass(frozen=True)
class CsvLayout:
    """What a CSV file looks like; files of one layout are read together.

    Attributes:
        header: the header line.
        names: the column names in it.
        is_folder: the file is in a folder named by the day, rather than named by the day itself.
    """

    header: str
    names: tuple[str, ...]
    is_folder: bool


def csv_layout(source: Source) -> CsvLayout:
    """Read the header of a file.

    Raises:
        DeliveryError: it cannot be read, or lacks a column; the message names the file and what was expected.
    """
    with opened(source) as stream:
        header = next(lines_at_the_beginning(stream, errors="strict"), "")
        names = tuple(next(csv.reader([header]), ()))
    check_names(source.file, names)
    return CsvLayout(header, names, source.is_folder)


def read_csv(spark: SparkSession, layout: CsvLayout, files: Sequence[str]) -> DataFrame:
    """Return the rows of files, as `readers.read_rows` describes them."""
    # One line is one row, so that a stray quote makes one row unparsable and not the rest of the file.
    lines = read_lines(spark, files, is_folder=layout.is_folder)
    lines = lines.where(F.ltrim("value", F.lit("\ufeff")) != layout.header)
    fields = [f"_{position} string" for position in range(len(layout.names))]
    row = F.from_csv("value", ", ".join([*fields, "malformed string"]), _CSV_OPTIONS)
    spelled = check_names(files[0], layout.names)
    columns = {c: F.col(f"row._{layout.names.index(spelled[c])}") for c in IDENTITY_COLUMNS}
    others = {n: F.col(f"row._{i}") for i, n in enumerate(_unique(layout.names)) if n not in spelled.values()}
    attributes = attributes_of(tuple(others), list(others.values()))
    # The parser closes a quote that the line leaves open, and would return a truncated field.
    quotes = F.length("value") - F.length(F.replace("value", F.lit('"'), F.lit("")))
    is_broken = F.col("row.malformed").isNotNull() | (quotes % 2 == 1)
    parse_error = F.when(is_broken, F.lit(UNPARSABLE_ROW))
    return rows_of_text(lines.withColumn("row", row), columns, attributes, parse_error)


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, a repeated one as `name.1`, `name.2`: a map has each once."""
    unique: list[str] = []
    for name in names:
        free = (f"{name}.{number}" if number else name for number in range(len(names)))
        unique.append(next(candidate for candidate in free if candidate not in unique))
    return unique
