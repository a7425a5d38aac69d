"""Readers: the files of batches as rows of strings, whatever their format.

Must not know what makes a row a valid event, how a batch is found, the Delta tables or Dagster.
Source of the rules: R7 (strings as delivered), R8 (a row that the format cannot parse), R23 (nothing is left out), R25
(names).
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession

from sessions_assets.landing.batches import COMPRESSIONS, Delivery, Landing
from sessions_assets.landing.csv_files import CsvLayout, csv_layout, read_csv, with_quotes
from sessions_assets.landing.json_files import JsonLayout, json_layout, read_json
from sessions_assets.landing.parquet_files import ParquetLayout, parquet_layout, read_parquet
from sessions_assets.landing.rows import Source
from sessions_assets.rule.input_format import InputFormat


def read_rows(spark: SparkSession, landing: Landing, deliveries: Sequence[Delivery]) -> DataFrame:
    """Return the rows of batches as strings.

    Returns:
        The four event columns as strings; TIMESTAMP `event_time`, NULL unless the file stores the timestamp as a point
        in time; MAP<STRING, STRING> `attributes`, the other columns that are not NULL by their names as delivered, NULL
        if there are none (R23); `parse_error`, the reason why the row cannot be parsed, or NULL; `raw_text`, the text
        of the row (of a Parquet file, the row as JSON); `source_file`; DATE `_updated_at`.

    Raises:
        DeliveryError: a file cannot be read, or lacks a column; the message names the file and what was expected.
    """
    sources = [Source(spark, landing, file, batch.is_folder) for batch in deliveries for file in batch.files]
    layouts: dict[str, CsvLayout | JsonLayout | ParquetLayout] = {source.file: _layout(source) for source in sources}
    layouts |= with_quotes(spark, {f: layout for f, layout in layouts.items() if isinstance(layout, CsvLayout)})
    files: dict[CsvLayout | JsonLayout | ParquetLayout, list[str]] = defaultdict(list)
    for file, layout in layouts.items():
        files[layout].append(file)
    groups = [_read(spark, layout, group, landing.input_format) for layout, group in files.items()]
    return reduce(DataFrame.unionByName, groups)


def _layout(source: Source) -> CsvLayout | JsonLayout | ParquetLayout:
    plain = next((source.file.removesuffix(end) for end in COMPRESSIONS if source.file.endswith(end)), source.file)
    match plain.rpartition(".")[2]:
        case "parquet":
            return parquet_layout(source)
        case "jsonl":
            return json_layout(source)
        case "tsv":
            return csv_layout(source, "\t")
    return csv_layout(source, source.input_format.csv_separator)


def _read(
    spark: SparkSession,
    layout: CsvLayout | JsonLayout | ParquetLayout,
    files: Sequence[str],
    input_format: InputFormat,
) -> DataFrame:
    match layout:
        case CsvLayout():
            return read_csv(spark, layout, files, input_format)
        case JsonLayout():
            return read_json(spark, layout, files, input_format)
    return read_parquet(spark, layout, files, input_format)
