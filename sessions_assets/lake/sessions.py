"""sessions and session_changes: which version of ods_sessions they equal, their rows, and their commits.

Must not know Dagster, the environment, or how a summary or a change of ids is computed.
Source of the rules: R28 (the stamp), R29 (append-only, idempotent by version).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake import writes
from sessions_assets.lake.commits import RowChanges, id_of, notes_of, row_address
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import ROWS, Lake, LakeError, literals
from sessions_assets.lake.spark import create, read
from sessions_assets.lake.tables import SESSION_CHANGES, SESSIONS, Table
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE

_SHOWN = 5

# So many of the last commits of a table are looked at for its stamp: mostly it is in the last one.
_COMMITS_LOOKED_AT = (1, 10, 100)


@dataclass(frozen=True)
class Stamp:
    """The version of ods_sessions that a table equals.

    Attributes:
        version: its number.
        commit: the id of its commit.
        since: the first version from which session_changes follows ids.
        table_id: that of ods_sessions.
    """

    version: int
    commit: str
    since: int
    table_id: str

    def as_notes(self) -> dict[str, Any]:
        """Return what a commit notes of itself."""
        return {
            "ods_version": self.version,
            "ods_commit": self.commit,
            "ods_since": self.since,
            "ods_id": self.table_id,
        }


class History:
    """The commits of ods_sessions up to a snapshot of it, read as far back as they are asked for."""

    def __init__(self, ods: Snapshot) -> None:
        self._ods = ods
        self._commits: dict[int, dict[str, Any]] = {}

    def _find(self, version: int) -> dict[str, Any] | None:
        if version not in self._commits and 0 <= version <= self._ods.version:
            found = self._ods.commits(self._ods.version - version + 1)
            self._commits = {int(commit["version"]): commit for commit in found}
        return self._commits.get(version)

    def _commit(self, version: int) -> dict[str, Any]:
        commit = self._find(version)
        if commit is None:
            raise LakeError(f"the log of {self._ods.address} no longer has version {version}")
        return commit

    def stamp(self, version: int, since: int) -> Stamp:
        """Return the stamp of a table that equals a version."""
        return Stamp(version, id_of(self._commit(version)), since, self._ods.table_id)

    def has(self, stamp: Stamp) -> bool:
        """Return whether a stamp is of this table: another one may have been at its address."""
        commit = self._find(stamp.version)
        return commit is not None and id_of(commit) == stamp.commit

    def has_forgotten(self, stamp: Stamp) -> bool:
        """Return whether a stamp is of this table, but of a version that its log no longer has."""
        is_older = stamp.version < self._ods.version
        return is_older and stamp.table_id == self._ods.table_id and self._find(stamp.version) is None

    def notes(self, version: int) -> dict[str, Any]:
        """Return what the commit of a version notes of itself; nothing if another program made it."""
        return notes_of(self._commit(version)) or {}

    def time(self, version: int) -> datetime:
        """Return the time of the commit of a version."""
        return datetime.fromtimestamp(self._commit(version)["timestamp"] / 1000, UTC)

    def rows(self, version: int) -> int:
        """Return how many rows the commit of a version wrote; 0 if it does not say so."""
        return int(self._commit(version).get("operationMetrics", {}).get("numOutputRows", 0))

    def changes_rows(self, version: int) -> bool:
        """Return whether the commit of a version may have changed rows."""
        return self._commit(version)["operation"] not in _NO_ROWS


_NO_ROWS = {
    "OPTIMIZE", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "ADD COLUMNS", "CHANGE COLUMN", "CREATE TABLE",
    "VACUUM START", "VACUUM END",
}  # fmt: skip
_ERASURES = {"DELETE", "UPDATE"}


def stamp_of(table: Snapshot, *, may_lack_rows: bool = False) -> Stamp | None:
    """Return the stamp of a table; None: another program has written its rows since, or it has none yet.

    Args:
        table: sessions, or session_changes.
        may_lack_rows: whether another program may have erased rows, for example at the request of a person.
    """
    others = _NO_ROWS | _ERASURES if may_lack_rows else _NO_ROWS
    for number in _COMMITS_LOOKED_AT:
        for commit in table.commits(number):
            notes = notes_of(commit) or {}
            if "ods_version" in notes:
                return Stamp(
                    notes["ods_version"], notes["ods_commit"], notes["ods_since"], str(notes.get("ods_id", ""))
                )
            if commit["operation"] not in others:
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
    return addressed.join(touched, "session_id", "left_semi")


@dataclass(frozen=True)
class SummaryChanges:
    """Changed summaries.

    Attributes:
        rows: columns of the table, `change` and `row_address`.
        counts: how many are inserted, changed, removed.
        first: the least of their dates; any if there is none.
        last: the greatest.
    """

    rows: DataFrame
    counts: Mapping[str, int]
    first: date = date.min
    last: date = date.min


def counted(states: DataFrame) -> SummaryChanges:
    """Return the changed ones of compared summaries (`summaries.compared`), counted."""
    found = states.where(F.col("change").isNotNull())
    by_change = found.groupBy("change").agg(F.count("*"), F.min("start_date"), F.max("start_date")).collect()
    counts = dict.fromkeys((INSERT, UPDATE, DELETE), 0) | {row[0]: row[1] for row in by_change}
    first = min((row[2] for row in by_change), default=date.min)
    last = max((row[3] for row in by_change), default=date.min)
    return SummaryChanges(found, counts, first, last)


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
    counts = changed.counts
    changes = RowChanges(
        changed.rows,
        counts[INSERT],
        counts[UPDATE],
        counts[DELETE],
        changed.first,
        changed.last,
        {column.name: F.col(column.name) for column in SESSIONS.columns},
        ("session_id",),
        "start_date",
    )
    way = lake.commit if changes.number else ROWS
    made = writes.commit_changes(spark, table, changes, way, stamp.as_notes())
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
    return lake.snapshot(SESSIONS, writes.replace_all(spark, table, rows, {}, stamp.as_notes()).version)


def append_changes(  # noqa: PLR0913, PLR0917 - a commit says what it appends to what
    spark: SparkSession, lake: Lake, table: Snapshot, rows: DataFrame, number: int, stamp: Stamp
) -> Snapshot:
    """Append changes of ids and the stamp, in one commit (R29); return the table after it.

    Args:
        spark: a session with Delta's extension.
        lake: where it is.
        table: session_changes, as this run has read it.
        rows: the changes.
        number: of them.
        stamp: the version up to which they are complete.

    Raises:
        LakeError: another run has written since.
    """
    no_address = F.lit(None).cast("struct<file: string, row_index: bigint>").alias("row_address")
    columns = {column.name: F.col(column.name) for column in SESSION_CHANGES.columns}
    new = rows.select(*columns, F.lit(INSERT).alias("change"), no_address)
    changes = RowChanges(new, number, 0, 0, date.min, date.min, columns, ("ods_version", "old_session_id"), None)
    made = writes.commit_changes(spark, table, changes, ROWS, stamp.as_notes())
    return lake.snapshot(SESSION_CHANGES, made.version)


def begin_changes(spark: SparkSession, lake: Lake, stamp: Stamp) -> Snapshot:
    """Begin session_changes with a version; rows of another ods_sessions go, in one commit with the stamp.

    Raises:
        LakeError: another run has written since.
    """
    table = _created(spark, lake, SESSION_CHANGES)
    made = writes.replace_all(spark, table, read(spark, table).limit(0), {}, stamp.as_notes())
    return lake.snapshot(SESSION_CHANGES, made.version)


@dataclass(frozen=True)
class LongSessions:
    """Sessions that are longer than a limit: how many, and ids and hours of the longest."""

    number: int = 0
    examples: tuple[tuple[str, float], ...] = ()


def long_sessions(table: Snapshot, days: Collection[date] | None, hours: int) -> dict[date | None, LongSessions]:
    """Return the sessions longer than some hours, by the last arrival day that touched them, without Spark.

    Args:
        table: sessions.
        days: the arrival days; None: all of them, as one.
        hours: the limit.
    """
    of_days = f"AND last_updated_at IN ({literals(days)})" if days else ""
    text = f"""
        SELECT last_updated_at, session_id, duration_seconds / 3600 FROM stored
        WHERE duration_seconds > {hours * 3600} {of_days} ORDER BY duration_seconds DESC, session_id
    """  # noqa: S608 - numbers and dates
    found = table.query(text)
    by_day: dict[date | None, list[tuple[str, float]]] = {}
    for day, session_id, length in found:
        by_day.setdefault(day if days else None, []).append((session_id, round(length, 2)))
    return {day: LongSessions(len(those), tuple(those[:_SHOWN])) for day, those in by_day.items()}


@dataclass(frozen=True)
class DayOfSessions:
    """The sessions that began on a date.

    Attributes:
        sessions: how many.
        duration_median, duration_p95: of their durations, in seconds.
        actions_median, actions_p95: of their numbers of user actions.
        one_action_share: share of those with one action.
        by_duration: numbers of sessions by index of `DURATION_CLASSES`.
    """

    sessions: int = 0
    duration_median: float = 0.0
    duration_p95: float = 0.0
    actions_median: float = 0.0
    actions_p95: float = 0.0
    one_action_share: float = 0.0
    by_duration: Mapping[int, int] = field(default_factory=dict)


DURATION_CLASSES = ("0", "<10 s", "<1 min", "<5 min", "<15 min", "<30 min", "<1 h", "<4 h", "longer")
"""The classes of durations; the first one is of sessions with one instant."""

# Where those from the third on begin, in seconds.
_CLASS_BEGINS = (10, 60, 300, 900, 1800, 3600, 14400)


def days_of_sessions(table: Snapshot, dates: Collection[date]) -> dict[date, DayOfSessions]:
    """Return the numbers of the sessions that began on these dates, without Spark."""
    within = f"start_date IN ({literals(dates)})"
    percentiles = ", ".join(
        f"percentile_cont({share}) WITHIN GROUP (ORDER BY {column})"
        for column in ("duration_seconds", "CAST(user_actions AS DOUBLE)")
        for share in (0.5, 0.95)
    )
    numbers = table.query(
        f"SELECT start_date, count(*), {percentiles}, avg(CASE WHEN user_actions = 1 THEN 1.0 ELSE 0.0 END) "  # noqa: S608
        f"FROM stored WHERE {within} GROUP BY 1"
    )
    begun = ["duration_seconds > 0", *(f"duration_seconds >= {least}" for least in _CLASS_BEGINS)]
    classes = " + ".join(f"CAST({condition} AS INT)" for condition in begun)
    histogram: dict[date, dict[int, int]] = {}
    text = f"SELECT start_date, {classes} AS class, count(*) FROM stored WHERE {within} GROUP BY 1, 2"  # noqa: S608
    for day, class_, sessions in table.query(text):
        histogram.setdefault(day, {})[class_] = sessions
    found = {
        day: DayOfSessions(sessions, *(round(number, 4) for number in others), histogram[day])  # type: ignore[call-arg]
        for day, sessions, *others in numbers
    }
    return {day: found.get(day, DayOfSessions()) for day in dates}


def _created(spark: SparkSession, lake: Lake, table: Table) -> Snapshot:
    found = lake.find(table)
    if found is None:
        create(spark, lake, table)
        found = lake.snapshot(table)
    return found
