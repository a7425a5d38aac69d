"""sessions and session_changes: which version of ods_sessions they equal, their rows, and their commits.

Must not know Dagster, the environment, or how a summary or a change of ids is computed.
Source of the rules: R28 (the stamp), R29 (append-only, idempotent by version).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.commits import RowChanges, as_text, id_of, notes_of, row_address
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import ROWS, Lake
from sessions_assets.lake.spark import create, read
from sessions_assets.lake.tables import SESSION_CHANGES, SESSIONS, Table
from sessions_assets.lake.writes import commit_changes, replace_all
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE

# So many of the last commits of a table are looked at for its stamp, and of ods_sessions for the one it names.
_COMMITS_LOOKED_AT = 1000


@dataclass(frozen=True)
class Stamp:
    """The version of ods_sessions that a table equals, the id of its commit, and the first version it knows of."""

    version: int
    commit: str
    since: int

    def as_notes(self) -> dict[str, Any]:
        """Return what a commit notes of itself."""
        return {"ods_version": self.version, "ods_commit": self.commit, "ods_since": self.since}


class History:
    """The last commits of ods_sessions, up to a snapshot of it."""

    def __init__(self, ods: Snapshot) -> None:
        self._commits = {int(commit["version"]): commit for commit in ods.commits(_COMMITS_LOOKED_AT)}

    def stamp(self, version: int, since: int) -> Stamp:
        """Return the stamp of a table that equals a version."""
        return Stamp(version, id_of(self._commits[version]), since)

    def has(self, stamp: Stamp) -> bool:
        """Return whether a stamp is of this table: another one may have been at its address."""
        commit = self._commits.get(stamp.version)
        return commit is not None and id_of(commit) == stamp.commit

    def notes(self, version: int) -> dict[str, Any]:
        """Return what the commit of a version notes of itself; nothing if another program made it."""
        return notes_of(self._commits[version]) or {}

    def time(self, version: int) -> datetime:
        """Return the time of the commit of a version."""
        return datetime.fromtimestamp(self._commits[version]["timestamp"] / 1000, UTC)

    def rows(self, version: int) -> int:
        """Return how many rows the commit of a version wrote; 0 if it does not say so."""
        return int(self._commits[version].get("operationMetrics", {}).get("numOutputRows", 0))

    def changes_rows(self, version: int) -> bool:
        """Return whether the commit of a version may have changed rows."""
        return self._commits[version]["operation"] not in _NO_ROWS


_NO_ROWS = {"OPTIMIZE", "SET TBLPROPERTIES", "ADD COLUMNS", "CREATE TABLE", "VACUUM START", "VACUUM END"}


def stamp_of(table: Snapshot) -> Stamp | None:
    """Return the stamp of a table; None: another program has written its rows since, or it has none yet."""
    for commit in table.commits(_COMMITS_LOOKED_AT):
        notes = notes_of(commit) or {}
        if "ods_version" in notes:
            return Stamp(notes["ods_version"], notes["ods_commit"], notes["ods_since"])
        if commit["operation"] not in _NO_ROWS:
            return None
    return None


def rows_of(spark: SparkSession, table: Snapshot, touched: DataFrame, first: date, last: date) -> DataFrame:
    """Read the summaries of sessions that start within these dates, with `row_address`.

    Args:
        spark: a session with Delta's extension.
        table: sessions.
        touched: `session_id` of those sessions.
        first: the first date.
        last: the last one.
    """
    rows = read(spark, table).where(F.col("start_date").between(F.lit(first), F.lit(last)))
    addressed = rows.select("*", row_address(rows))
    return addressed.join(touched.select("session_id"), "session_id", "left_semi")


@dataclass(frozen=True)
class SummaryChanges:
    """Changed summaries: columns of the table, `change` and `row_address`; how many are inserted, changed, removed."""

    rows: DataFrame
    counts: Mapping[str, int]


def commit_summaries(
    spark: SparkSession, lake: Lake, table: Snapshot, changed: SummaryChanges, stamp: Stamp
) -> Snapshot:
    """Write changed summaries and the stamp, in one commit; return the table after it.

    Args:
        spark: a session with Delta's extension.
        lake: its way to commit; what changes no row needs none.
        table: sessions, from which the changes were computed.
        changed: the changes.
        stamp: the version that the table equals now.

    Raises:
        LakeError: another run has written since, or the rows are not as many as were counted.
    """
    rows, counts = changed.rows, changed.counts
    first = last = date.min
    if any(counts.values()):
        first, last = rows.agg(F.min("start_date"), F.max("start_date")).collect()[0]
    changes = RowChanges(
        rows,
        counts[INSERT],
        counts[UPDATE],
        counts[DELETE],
        first,
        last,
        {column.name: F.col(column.name) for column in SESSIONS.columns},
        ("session_id",),
        "start_date",
    )
    way = lake.commit if changes.number else ROWS
    made = commit_changes(spark, table, changes, way, stamp.as_notes())
    return lake.snapshot(SESSIONS, made.version)


def commit_stamp(spark: SparkSession, lake: Lake, table: Snapshot, stamp: Stamp) -> Snapshot:
    """Note that the rows of sessions equal another version; return the table after it.

    Raises:
        LakeError: another run has written since.
    """
    rows = read(spark, table).limit(0)
    nothing = rows.select("*", F.lit(None).cast("string").alias("change"), row_address(rows))
    unchanged = SummaryChanges(nothing, dict.fromkeys((INSERT, UPDATE, DELETE), 0))
    return commit_summaries(spark, lake, table, unchanged, stamp)


def replace_summaries(spark: SparkSession, lake: Lake, rows: DataFrame, stamp: Stamp) -> Snapshot:
    """Replace all summaries, in one commit with the stamp; the table is created if it is not there.

    Raises:
        LakeError: another run has written since.
    """
    table = _created(spark, lake, SESSIONS)
    return lake.snapshot(SESSIONS, replace_all(spark, table, rows, {}, stamp.as_notes()).version)


def append_changes(lake: Lake, rows: DataFrame, ods: Snapshot, stamp: Stamp) -> None:
    """Append the changes of ids of one version, in one commit with the stamp, unless that version is there (R29)."""
    columns = [F.col(c.name).alias(c.name, metadata={"comment": c.meaning}) for c in SESSION_CHANGES.columns]
    writer = rows.select(*columns).write.format("delta").mode("append")
    # Delta leaves out a commit whose number this table, fed by that one, has had.
    writer = writer.option("txnAppId", f"session_changes of {ods.table_id}").option("txnVersion", stamp.version)
    writer.option("userMetadata", as_text(stamp.as_notes())).save(lake.path(SESSION_CHANGES))


def empty_changes(spark: SparkSession, lake: Lake, stamp: Stamp) -> None:
    """Begin session_changes with a version; rows of an earlier ods_sessions go, in one commit with the stamp."""
    table = _created(spark, lake, SESSION_CHANGES)
    replace_all(spark, table, read(spark, table).limit(0), {}, stamp.as_notes())


def _created(spark: SparkSession, lake: Lake, table: Table) -> Snapshot:
    found = lake.find(table)
    if found is None:
        create(spark, lake, table)
        found = lake.snapshot(table)
    return found
