"""ods_sessions: its rows in reach of a batch, its commits, change feed and columns, and its compaction.

Must not know Dagster, the environment, batch files or how a session is computed.
Source of the rules: R24 (columns of carried attributes), R31 (change feed).
"""

import json
from collections.abc import Collection, Sequence
from datetime import date
from math import ceil
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake import writes
from sessions_assets.lake.commits import id_of, is_ours, notes_of, row_address
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake, LakeError, literals
from sessions_assets.lake.spark import CHANGE_FEED, read
from sessions_assets.lake.tables import ODS_SESSIONS, carried_meaning
from sessions_assets.rule.carried import as_columns, of_stored
from sessions_assets.rule.events import KEY_COLUMNS
from sessions_assets.rule.session_rule import SESSION_COLUMNS

_NO_ADDRESS = "CAST(NULL AS STRUCT<file: STRING, row_index: BIGINT>) AS row_address"

_CARRIED = "sessions.carried"

# Delta's own target of a compaction, in bytes; a date with more is left in several files.
_LARGEST_FILE = 1 << 30

# A day makes two commits, its own and that of compaction: a month. A day that was applied earlier is applied again.
_COMMITS_LOOKED_AT = 60


def read_rows(spark: SparkSession, snapshot: Snapshot, names: Sequence[str]) -> DataFrame:
    """Read the stored rows: `SESSION_COLUMNS`, and `VALUE_COLUMNS` of these carried names."""
    rows = read(spark, snapshot)
    return rows.select(*SESSION_COLUMNS, *of_stored(rows.columns, names))


def rows_in_reach(spark: SparkSession, snapshot: Snapshot | None, first: date, names: Sequence[str]) -> DataFrame:
    """Read the stored rows from an event date on as `read_rows`, each with its `row_address`; none without a table."""
    if snapshot is None:
        columns = [f"CAST(NULL AS {column.sql_type}) AS {column.name}" for column in ODS_SESSIONS.columns]
        rows = spark.sql(f"SELECT {', '.join(columns)} WHERE false")
        return rows.select(*SESSION_COLUMNS, *of_stored(rows.columns, names), F.expr(_NO_ADDRESS))
    rows = read(spark, snapshot)
    reached = rows.where(F.col("pdate") >= first)
    return reached.select(*SESSION_COLUMNS, *of_stored(rows.columns, names), row_address(reached))


def commit_id(snapshot: Snapshot) -> str:
    """Return the id of the commit of a snapshot: unique, also among the commits of an earlier table at this address."""
    return id_of(snapshot.commits(1)[0])


def own_commits(snapshot: Snapshot) -> list[str]:
    """Return the ids of the last commits, newest first, back to the newest one of another program, that one included.

    Since each of them nobody but this project has changed the table.
    """
    ids: list[str] = []
    for commit in snapshot.commits(_COMMITS_LOOKED_AT):
        ids.append(id_of(commit))
        if not is_ours(commit):
            break
    return ids


def notes_by_day(snapshot: Snapshot) -> dict[date | None, dict[str, Any]]:
    """Return what the last commit that changed rows for a day notes of itself, for the days of the last commits.

    None: the last of these commits that changed settled sessions.
    """
    found: dict[date | None, dict[str, Any]] = {}
    for commit in snapshot.commits(_COMMITS_LOOKED_AT):
        notes = notes_of(commit) or {}
        for day in notes.get("days", ()):
            found.setdefault(date.fromisoformat(day), notes)
        if (notes.get("settled_changed") or {}).get("sessions"):
            found.setdefault(None, notes)
    return found


def read_feed(spark: SparkSession, snapshot: Snapshot) -> DataFrame:
    """Read the rows that the commit of a snapshot changed, from Delta's change data feed (R31).

    Returns:
        The columns of the table and `_change_type`: `insert` and `update_postimage` as the rows are now, `delete` and
        `update_preimage` as they were.
    """
    feed = spark.read.format("delta").option("readChangeFeed", "true")
    return (
        feed.option("startingVersion", snapshot.version)
        .option("endingVersion", snapshot.version)
        .load(snapshot.address)
    )


def columns_of(rows: DataFrame, names: Sequence[str]) -> dict[str, Column]:
    """Return the columns of the table, by their names, from `SESSION_COLUMNS` and `VALUE_COLUMNS` of these names."""
    return {name: F.col(name) for name in SESSION_COLUMNS} | as_columns(rows, names)


def prepare(spark: SparkSession, lake: Lake, snapshot: Snapshot, names: Sequence[str]) -> Snapshot:
    """Note which attributes the rows of the next commit carry, and add the columns that the table lacks (R24).

    Only if they are others than before. The values of the new columns are NULL. A table of an earlier edition gets a
    change data feed, which begins then (R31).

    Returns:
        The table after that; the rows of the snapshot are still those of the table.

    Raises:
        LakeError: another run has written since.
    """
    noted = {**carried_property(()), **snapshot.properties()}
    wanted = carried_property(names) | CHANGE_FEED
    differing = {name: value for name, value in wanted.items() if noted.get(name) != value}
    if not differing:
        return snapshot
    columns = snapshot.columns()
    missing = {name: carried_meaning(name) for name in names if name not in columns}
    return lake.snapshot(ODS_SESSIONS, writes.alter(spark, snapshot, missing, differing))


def carried_property(names: Sequence[str]) -> dict[str, str]:
    """Return the table property that notes the carried attributes; a table without it carries none."""
    return {_CARRIED: json.dumps(list(names), ensure_ascii=False)}


def check_columns(snapshot: Snapshot, names: Sequence[str]) -> None:
    """Make sure that a table has, or can have, the carried names as columns of text.

    Raises:
        LakeError: it cannot.
    """
    columns = snapshot.columns()
    of_other_case = {column.lower(): column for column in columns}
    for name in names:
        if (other := of_other_case.get(name.lower(), name)) != name:
            raise LakeError(f"{snapshot.address} has column {other}: carry {other}, for {name} cannot be beside it")
        if (kind := columns.get(name, "string")) != "string":
            raise LakeError(f"{snapshot.address} has column {name} of type {kind}: a carried attribute needs string")


def compact(spark: SparkSession, snapshot: Snapshot, before: date, partition: str = "pdate") -> list[date]:
    """Rewrite the dates before this one that have many files or deletion vectors, sorted by key.

    The rows stay what they are. A date that was rewritten, and did not change since, is left alone.

    Args:
        spark: a session with Delta's extension.
        snapshot: of ods_sessions, or of sessions.
        before: the first date that stays as it is.
        partition: the column by which the table is partitioned.

    Returns:
        The dates that were rewritten.
    """
    dates = sorted(
        day
        for day, files in snapshot.files_by_day(partition).items()
        if day < before and (files.with_vectors or files.number > ceil(files.size / _LARGEST_FILE))
    )
    if dates:
        table = DeltaTable.forPath(spark, snapshot.address)
        table.optimize().where(f"{partition} IN ({literals(dates)})").executeZOrderBy(*KEY_COLUMNS)
    return dates


def sessions_by_hour(snapshot: Snapshot, dates: Collection[date]) -> dict[date, dict[int, int]]:
    """Count the sessions that began on these event dates, by hour of the day in UTC; where there are none, no hour.

    Reads only the event dates asked for, without Spark: it is for a chart.
    """
    hours: dict[date, dict[int, int]] = {day: {} for day in dates}
    text = f"""
        SELECT pdate, CAST(date_part('hour', session_start) AS INT) AS hour, count(DISTINCT session_id) AS sessions
        FROM stored WHERE session_start = timestamp AND pdate IN ({literals(dates)}) GROUP BY 1, 2
    """  # noqa: S608 - dates
    for day, hour, sessions in snapshot.query(text):
        hours[day][hour] = sessions
    return hours
