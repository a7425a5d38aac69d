"""The last commits of a Delta table by its log, and its rows as Parquet; all read without Spark.

Rows go from the table to the file batch by batch, and DuckDB keeps to a limit: no table is held in memory whole.
"""

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

IDENTITY = "user_id, event_id, product_code, timestamp"


def version(table: Path) -> int:
    """Return the version of the newest commit; -1 if there is no table."""
    return int(DeltaTable(str(table)).version()) if (table / "_delta_log").is_dir() else -1


def counted_by_delta(table: Path, read_version: int) -> dict[str, float]:
    """Count what the commits after a version wrote, and what the table is now.

    Rows that are marked as deleted are not written: their file is added once more under a deletion vector.
    """
    actions = _actions(table, read_version)
    written = [action for kind, action in actions if kind == "add" and not action.get("deletionVector")]
    sizes = file_sizes(table)
    return {
        "commits": version(table) - read_version,
        "rows written": sum(json.loads(action["stats"])["numRecords"] for action in written),
        "files touched": len({action["path"] for _, action in actions}),
        "files in the table": len(sizes),
        "MB of the table": sum(sizes) / 1e6,
    }


def file_sizes(table: Path) -> list[int]:
    """Return the bytes of each file of the current version."""
    sizes: list[int] = pa.table(DeltaTable(str(table)).get_add_actions(flatten=True))["size_bytes"].to_pylist()
    return sizes


def feed_sizes(table: Path) -> list[int]:
    """Return the bytes of each file that its commits wrote for the change data feed alone."""
    return [file.stat().st_size for file in table.glob("_change_data/**/*.parquet")]


def touched_dates(table: Path, read_version: int) -> list[str]:
    """Return the event dates of which the commits after a version added or removed a file."""
    return sorted({action["partitionValues"]["pdate"] for _, action in _actions(table, read_version)})


def _actions(table: Path, read_version: int) -> list[tuple[str, dict[str, Any]]]:
    """Read the files that were added or removed, not only moved, by the commits after a version."""
    commits = range(read_version + 1, version(table) + 1)
    texts = [(table / "_delta_log" / f"{number:020}.json").read_text() for number in commits]
    actions = [next(iter(json.loads(line).items())) for text in texts for line in text.splitlines()]
    return [(kind, action) for kind, action in actions if kind in {"add", "remove"} and action["dataChange"]]


def export(table: Path, file: Path, where: str = "true", at_version: int | None = None) -> None:
    """Write the rows of a table into one Parquet file."""
    query = QueryBuilder({"datafusion.execution.batch_size": "100000"})
    rows = query.register("ods", DeltaTable(str(table), version=at_version)).execute(f"SELECT * FROM ods WHERE {where}")
    batches = pa.RecordBatchReader.from_stream(rows)
    with pq.ParquetWriter(file, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def limited_duckdb(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open DuckDB with a limit; what needs more goes to files below the folder."""
    connection = duckdb.connect()
    connection.execute("SET memory_limit = '8GB'")
    connection.execute(f"SET temp_directory = '{folder / 'duckdb'}'")
    return connection


def rows_that_differ(table: Path, read_version: int, folder: Path) -> int:
    """Count the events whose row is another one than at a version, is new, or is gone.

    Only the event dates that the commits touched are compared. FOLDER/gone.parquet and FOLDER/came.parquet hold the
    rows as they were and as they are.
    """
    dates = ", ".join(f"DATE '{day}'" for day in touched_dates(table, read_version)) or "NULL"
    before, after = folder / "before.parquet", folder / "after.parquet"
    export(table, before, f"pdate IN ({dates})", read_version)
    export(table, after, f"pdate IN ({dates})")
    with limited_duckdb(folder) as connection:
        for name, one, two in (("gone", before, after), ("came", after, before)):
            query = f"SELECT * FROM '{one}' EXCEPT ALL SELECT * FROM '{two}'"
            connection.execute(f"COPY ({query}) TO '{folder / name}.parquet' (FORMAT parquet)")
        events = " UNION ".join(f"SELECT {IDENTITY} FROM '{folder / name}.parquet'" for name in ("gone", "came"))
        ((differing,),) = connection.execute(f"SELECT count(*) FROM ({events})").fetchall()
    before.unlink()
    after.unlink()
    return int(differing)
