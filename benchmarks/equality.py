"""Whether all ways came to the same table: each compared with one of them, DuckDB's with the plain-Python reference.

For each event date the rows are counted, and two hashes of each whole row are added up: two tables that differ in a
row agree in these 128 bits by chance only. Where they do not, the rows are compared one by one and counted.
"""

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path

import duckdb

from benchmarks.deltas import export, limited_duckdb
from benchmarks.lakes import RULE, days_of
from benchmarks.rivals import DUCKDB
from sessions_assets_tests.reference import Event, expected_table

_COLUMNS = (
    "user_id, event_id, product_code, epoch_us(timestamp) AS timestamp, is_user_action, session_id, "
    "epoch_us(session_start) AS session_start, CAST(first_updated_at AS DATE) AS first_updated_at, pdate"
)
# So many users are compared with the plain-Python reference.
_CHECKED_USERS = 25


def check(folder: Path, names: Iterable[str]) -> None:
    """Compare the tables of these rivals below FOLDER/results with DuckDB's, and some users with the reference.

    Raises:
        SystemExit: rows differ; the message states how many.
    """
    with limited_duckdb(folder) as connection:
        rows = _check_same(connection, folder, DUCKDB, names)
        checked = _check_reference(connection, folder, _rows_of(folder, DUCKDB))
    print(f"{rows} rows, the same in all tables; {checked} of them are the reference's", flush=True)


def check_same(folder: Path, base: str, names: Iterable[str]) -> None:
    """Compare the tables of these ways below FOLDER/results with that of another one.

    Raises:
        SystemExit: rows differ; the message states how many.
    """
    with limited_duckdb(folder) as connection:
        rows = _check_same(connection, folder, base, names)
    print(f"{rows} rows, the same in all tables", flush=True)


def _check_same(connection: duckdb.DuckDBPyConnection, folder: Path, base: str, names: Iterable[str]) -> int:
    """Compare tables; return the number of rows that each has."""
    base_rows = _rows_of(folder, base)
    sums = _sums(connection, base_rows)
    for name in names:
        other = _rows_of(folder, name)
        differing = [str(day) for day, _ in set(_sums(connection, other)).symmetric_difference(sums)]
        if differing:
            found = _differences(connection, base_rows, other, differing)
            raise SystemExit(f"{name}: {found} differ from those of {base}")
    return sum(count for _, (count, *_) in sums)


def _rows_of(folder: Path, name: str) -> str:
    """Return a query for the rows of a rival's table."""
    results = folder / "results" / name
    for table in (results / "ods_sessions", results):
        if (table / "_delta_log").is_dir():
            file = folder / f"{name}.parquet"
            export(table, file)
            return f"SELECT {_COLUMNS} FROM read_parquet('{file}')"
    return f"SELECT {_COLUMNS} FROM read_parquet('{results}')"


def _sums(connection: duckdb.DuckDBPyConnection, rows: str) -> list[tuple[date, tuple[int, int, int]]]:
    query = f"SELECT pdate, (count(*), sum(hash(r)), sum(hash(r, 'again'))) FROM ({rows}) AS r GROUP BY 1"
    return connection.execute(query).fetchall()


def _differences(connection: duckdb.DuckDBPyConnection, base: str, other: str, days: Iterable[str]) -> str:
    """Count the rows of these event dates that only one of two tables has."""
    chosen = "WHERE pdate IN ({})".format(", ".join(f"DATE '{day}'" for day in sorted(set(days))))
    counts: list[int] = []
    for one, two in ((base, other), (other, base)):
        query = f"SELECT count(*) FROM ((SELECT * FROM ({one}) {chosen}) EXCEPT ALL (SELECT * FROM ({two}) {chosen}))"
        counts += connection.execute(query).fetchall()[0]
    return f"{counts[0]} rows that it lacks and {counts[1]} that it has"


def _check_reference(connection: duckdb.DuckDBPyConnection, folder: Path, base: str) -> int:
    """Compute the rows of some users in plain Python, and compare them with those of DuckDB; return their number."""
    chosen = "WHERE user_id IN ({})".format(", ".join(f"'u{number}'" for number in range(_CHECKED_USERS)))
    stored = connection.execute(f"SELECT * FROM ({base}) {chosen}").fetchall()
    delivered: dict[tuple[str, str], dict[date, list[Event]]] = {}
    for day in days_of(folder):
        four = "user_id, event_id, product_code, make_timestamp(epoch_us(timestamp))"
        query = f"SELECT {four} FROM read_parquet('{folder}/landing/{day}.parquet') {chosen}"
        for row in connection.execute(query).fetchall():
            delivered.setdefault((row[0], row[2]), {}).setdefault(day, []).append(Event(*row))
    expected = [row for held in delivered.values() for row in expected_table(held, RULE.timeout, RULE.user_actions)]
    plain = [(*row[:3], _micros(row.timestamp), *row[4:6], _micros(row.session_start), *row[7:]) for row in expected]
    if sorted(plain, key=str) != sorted(stored, key=str):
        raise SystemExit("the rows of DuckDB are not those of the reference")
    return len(plain)


def _micros(time: datetime | None) -> int | None:
    return None if time is None else (time - datetime(1970, 1, 1)) // (datetime.resolution)  # noqa: DTZ001 - UTC
