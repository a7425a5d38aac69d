"""Every reader that docs/tables.md names reads the same rows of each table, deletion vectors included."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession

from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, SESSION_CHANGES, SESSIONS, Table
from sessions_assets_tests.demonstration import Demo
from sessions_assets_tests.pages import PROJECT

TABLES = [RAW_EVENTS, ODS_SESSIONS, SESSIONS, SESSION_CHANGES]
# A DuckDB of its own, beside that of the tests: there is no extension for each of its versions.
DUCKDB_WITH_EXTENSION = PROJECT / ".tools" / "duckdb"


def by_delta_rs(address: str) -> pa.Table:
    return pa.table(QueryBuilder().register("t", DeltaTable(address)).execute("SELECT * FROM t").read_all())


def by_polars(address: str) -> pa.Table:
    return pl.scan_delta(address).collect().to_arrow()


def by_duckdb_through_delta_rs(address: str) -> pa.Table:
    stored = QueryBuilder().register("t", DeltaTable(address)).execute("SELECT * FROM t")
    assert stored is not None
    return duckdb.sql("SELECT * FROM stored").to_arrow_table()


def hash_of(rows: pa.Table, table: Table) -> str:
    """Return one hash of all rows, whatever their order and the types in which a reader has them."""
    assert sorted(rows.column_names) == sorted(column.name for column in table.columns)
    named = rows.select(sorted(rows.column_names)).to_pylist()
    lines = sorted(json.dumps([_canonical(value) for value in row.values()]) for row in named)
    assert lines
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _canonical(value: Any) -> Any:  # noqa: ANN401 - a value of any column
    if isinstance(value, datetime):
        return str(value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, list):  # a map, as pairs
        return sorted(tuple(pair.values()) if isinstance(pair, dict) else tuple(pair) for pair in value)
    return value if isinstance(value, str | int | float | None) else str(value)


@pytest.fixture(scope="module")
def by_spark(demo_run: Demo, spark: SparkSession) -> dict[str, pa.Table]:
    """The tables of the demo as Spark reads them, by their names."""
    lake = demo_run.folder / "lake"
    return {table.name: spark.read.format("delta").load(str(lake / table.name)).toArrow() for table in TABLES}


@pytest.mark.parametrize("read", [by_delta_rs, by_polars, by_duckdb_through_delta_rs])
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_reader_reads_what_spark_reads(
    table: Table, read: Callable[[str], pa.Table], demo_run: Demo, by_spark: dict[str, pa.Table]
) -> None:
    rows = read(str(demo_run.folder / "lake" / table.name))
    assert hash_of(rows, table) == hash_of(by_spark[table.name], table)


def test_a_row_more_or_less_is_another_hash(by_spark: dict[str, pa.Table]) -> None:
    rows = by_spark[SESSIONS.name]
    changed = rows.set_column(0, "session_id", pa.array(["?", *rows["session_id"].to_pylist()[1:]]))
    hashes = {hash_of(those, SESSIONS) for those in (rows, rows.slice(1), pa.concat_tables([rows, rows[:1]]), changed)}
    assert len(hashes) == 4


@pytest.mark.stack
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_extension_of_duckdb_reads_what_spark_reads(
    table: Table, demo_run: Demo, by_spark: dict[str, pa.Table], tmp_path: Path
) -> None:
    """In a process of its own, with the DuckDB that the extension fits."""
    address, copy = demo_run.folder / "lake" / table.name, tmp_path / "copy.parquet"
    program = (
        "import duckdb, duckdb_extensions; duckdb_extensions.import_extension('delta'); duckdb.sql('LOAD delta'); "
        f"duckdb.sql(\"FROM delta_scan('{address}')\").write_parquet('{copy}')"
    )
    environment = os.environ | {"PYTHONPATH": str(DUCKDB_WITH_EXTENSION), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)  # noqa: S603 - our own program
    assert hash_of(pq.read_table(copy), table) == hash_of(by_spark[table.name], table)
