"""Keep sessions and session_changes equal to ods_sessions: one commit of each for each commit that changed rows.

Must not know Dagster, the environment, batch files, or how a summary or a change of ids is computed.
Source of the rules: R28 (derived, mends itself), R29.

The two tables are derived: each says which version of ods_sessions it equals, and nothing is read back from them. They
are brought on version by version, so that what became of each id is known, session_changes first: after a crash between
the two it is ahead, and its part is left out.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake import ods, sessions
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake, LakeError
from sessions_assets.lake.sessions import History, Stamp, stamp_of
from sessions_assets.lake.settled import end_of
from sessions_assets.lake.spark import computed_once, read, shuffle_partitions_for
from sessions_assets.lake.tables import ODS_SESSIONS, SESSION_CHANGES, SESSIONS
from sessions_assets.pipeline.apply import check_rule
from sessions_assets.pipeline.progress import LOGGER, phase
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE
from sessions_assets.rule.events import IDENTITY_COLUMNS
from sessions_assets.rule.id_changes import id_changes, moved_rows
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.summaries import compared, summaries

# The rows of a commit that were stored before, and the ids of its sessions, go to every executor while they are so few.
_BROADCAST_ROWS = 1_000_000

_OF_FEED = (*IDENTITY_COLUMNS, "session_id", "session_start", "_change_type")
_OLD, _NEW = ("delete", "update_preimage"), ("insert", "update_postimage")

# What Spark and Delta say when a file or a part of the log is gone that a version needs, and when a version has
# sessions without an action: another program has damaged it.
_GONE = re.compile(
    r"FILE_NOT_EXIST|DELTA_FILE_NOT_FOUND|FileNotFoundException|DELTA_MISSING_CHANGE_DATA|DELTA_CHANGE_DATA_FILE_NOT_FOUND"
    r"|DELTA_VERSION_NOT_FOUND"
)
_DAMAGED = re.compile(r"DELTA_NOT_NULL_CONSTRAINT_VIOLATED")


@dataclass(frozen=True)
class Summarized:
    """What a run changed in sessions and session_changes.

    Attributes:
        ods_version: the version of ods_sessions that both equal now.
        version: of sessions.
        rebuilt: why all summaries were computed anew; empty: they were not.
        since: the first version of ods_sessions from which session_changes follows ids.
        rows: changed summaries: inserted, changed, removed.
        moves: pairs of ids between which rows moved, by kind and days late (None: no session any more).
        settled_moves: those of them whose old session was settled.
    """

    ods_version: int
    version: int
    rebuilt: str
    since: int
    rows: Mapping[str, int]
    moves: Mapping[tuple[str, int | None], int]
    settled_moves: int


class _Run:
    """The two tables as this run has left them, and what the commits that it followed have changed, added up."""

    def __init__(self, table: Snapshot, id_table: Snapshot) -> None:
        self.table, self.id_table = table, id_table
        self.rows = Counter({INSERT: 0, UPDATE: 0, DELETE: 0})
        self.moves: Counter[tuple[str, int | None]] = Counter()
        self.settled_moves = 0


class _Stamped(NamedTuple):
    """A table that is kept, and the version that it equals."""

    table: Snapshot
    stamp: Stamp


@dataclass(frozen=True)
class _Start:
    """From where the tables are brought on.

    Attributes:
        base: the version that sessions equals, or is rebuilt at.
        table: sessions, if it is kept.
        told: session_changes, if it is kept.
        reason: why sessions is rebuilt.
    """

    base: Stamp
    table: Snapshot | None
    told: _Stamped | None
    reason: str


def applied_days(lake: Lake, days: Sequence[date]) -> list[date]:
    """Return those of these days that ods_sessions has applied.

    Raises:
        LakeError: it has applied none of them.
    """
    entries = lake.ledger.entries(days)
    applied = [day for day, entry in entries.items() if entry.applied_at]
    if not applied:
        raise LakeError(f"ods_sessions has not applied {', '.join(map(str, days))}: materialize ods_sessions first")
    return applied


@dataclass(frozen=True)
class _Job:
    """What a run works with: the newest version of ods_sessions, and the commits up to it."""

    spark: SparkSession
    lake: Lake
    rule: SessionRule
    newest: Snapshot
    history: History


def summarize(spark: SparkSession, lake: Lake, rule: SessionRule) -> Summarized:
    """Bring sessions and session_changes to the newest version of ods_sessions (R28, R29).

    If sessions is lost, damaged, or was written by another program, or if a version that it lacks cannot be followed,
    all summaries are computed anew, and the result says why.

    Raises:
        LakeError: there is no ods_sessions, it was built under another rule, or another run writes one of the tables.
    """
    newest = lake.snapshot(ODS_SESSIONS)
    check_rule(newest, rule)
    job = _Job(spark, lake, rule, newest, History(newest))
    start = _start(job)
    try:
        return _bring_on(job, start)
    except (PySparkException, Py4JError) as error:
        if start.base.version == newest.version or not (why := _unfollowable(error)):
            raise
        reason = f"a version of ods_sessions after {start.base.version} {why}"
        return _bring_on(job, _Start(_newest(job), None, _told(job), reason))


def _unfollowable(error: Exception) -> str:
    """Return why a version cannot be followed, whatever is done; empty: another attempt may succeed."""
    if _GONE.search(str(error)):
        return "cannot be read any more"
    return "has a session without an action" if _DAMAGED.search(str(error)) else ""


def _newest(job: _Job) -> Stamp:
    return job.history.stamp(job.newest.version, job.newest.version)


def _start(job: _Job) -> _Start:
    """Find what can be kept, and from which version the tables are brought on."""
    kept, reason = _usable(job)
    told = _told(job)
    # Up to a version that the log no longer has nothing can be brought on.
    known = told.stamp if told and job.history.has(told.stamp) else None
    if kept and (known is None or kept.stamp.version <= known.version):
        return _Start(kept.stamp, kept.table, told, "")
    if known:
        reason = reason or f"session_changes equals version {known.version} of ods_sessions alone"
        return _Start(known, None, told, reason)
    return _Start(_newest(job), None, told, reason)


def _told(job: _Job) -> _Stamped | None:
    """Return session_changes; None: it is not there, or what it holds is of other versions."""
    table = job.lake.find(SESSION_CHANGES)
    if table is None:
        return None
    # Nothing computes its rows again, so what somebody has erased of them is no reason to begin anew.
    stamp = stamp_of(table, may_lack_rows=True)
    if stamp and (job.history.has(stamp) or job.history.has_forgotten(stamp)):
        return _Stamped(table, stamp)
    why = (
        f"version {stamp.version}, which it equals, is not of this ods_sessions"
        if stamp
        else "no run has begun it, or another program has written it since"
    )
    LOGGER.warning("session_changes begins anew: %s", why)
    return None


def _usable(job: _Job) -> tuple[_Stamped | None, str]:
    """Return sessions if its summaries can be kept, and if not, why."""
    table = job.lake.find(SESSIONS)
    if table is None:
        return None, "there was no table"
    stamp = stamp_of(table)
    if stamp is None:
        return None, "no run has written the table, or another program since"
    if job.history.has_forgotten(stamp):
        return None, f"the log of ods_sessions no longer has version {stamp.version}, which the table equals"
    if not job.history.has(stamp):
        return None, f"version {stamp.version}, which the table equals, is not of this ods_sessions"
    if missing := table.missing_files():
        return None, f"{len(missing)} files of the table are missing"
    return _Stamped(table, stamp), ""


def _bring_on(job: _Job, start: _Start) -> Summarized:
    told = _begun(job, start)
    since = told.stamp.since
    table = start.table or _rebuilt(job, replace(start.base, since=since), start.reason)
    run = _Run(table, told.table)
    for version in range(start.base.version + 1, job.newest.version + 1):
        stamp = job.history.stamp(version, since)
        is_told = version <= told.stamp.version
        if job.history.changes_rows(version):
            _follow(job, stamp, run, is_told=is_told)
        elif version == job.newest.version:
            _restamp(job, stamp, run, is_told=is_told)
    return Summarized(
        job.newest.version, run.table.version, start.reason, since, run.rows, run.moves, run.settled_moves
    )


def _begun(job: _Job, start: _Start) -> _Stamped:
    """Return session_changes; it begins with the base if it is new, or lacks versions before that."""
    begun = replace(start.base, since=start.base.version)
    if start.told is None:
        return _Stamped(sessions.begin_changes(job.spark, job.lake, begun), begun)
    if start.told.stamp.version >= begun.version:
        return start.told
    lacking = start.told.stamp.version, begun.version
    LOGGER.warning("session_changes lacks what happened between versions %d and %d of ods_sessions", *lacking)
    return _Stamped(_tell_nothing(job, begun, start.told.table), begun)


def _rebuilt(job: _Job, stamp: Stamp, reason: str) -> Snapshot:
    """Compute all summaries of a version."""
    LOGGER.info("sessions is computed from all rows of version %d of ods_sessions: %s", stamp.version, reason)
    ods_of_version = job.lake.snapshot(ODS_SESSIONS, stamp.version)
    stored = ods_of_version.count_stored()
    with phase("summarize all") as note, shuffle_partitions_for(job.spark, stored, is_planned_once=True):
        rows = summaries(read(job.spark, ods_of_version))
        table = sessions.replace_summaries(job.spark, job.lake, rows, stamp)
        note(f"{table.count_stored()} sessions")
    return table


def _follow(job: _Job, stamp: Stamp, run: _Run, *, is_told: bool) -> None:
    """Bring both tables to a commit of ods_sessions that may have changed rows."""
    rows = job.history.rows(stamp.version)
    with (
        phase(f"version {stamp.version} of ods_sessions") as note,
        shuffle_partitions_for(job.spark, rows, is_planned_once=True),
    ):
        commit = job.lake.snapshot(ODS_SESSIONS, stamp.version)
        # Once: it is put together from many files.
        feed = computed_once(ods.read_feed(job.spark, commit).select(*_OF_FEED))
        touched = _touched(feed)
        # Dates and numbers: Python would have the instants in the time zone of its process.
        first, last = F.min("session_start"), F.max("session_start")
        touched_sessions, stored_rows, first_date, last_date, least, greatest = touched.agg(
            F.count("*"), F.sum("stored_rows"), F.to_date(first), F.to_date(last), F.unix_micros(first),
            F.unix_micros(last),
        ).collect()[0]  # fmt: skip
        if not touched_sessions:
            _restamp(job, stamp, run, is_told=is_told)
            return
        # Spark knows no size of what was checkpointed, and would sort all rows of the dates.
        ids = touched.select("session_id")
        ids = F.broadcast(ids) if touched_sessions < _BROADCAST_ROWS else ids
        before = sessions.rows_of(job.spark, run.table, ids, first_date, last_date)
        bounds = [F.timestamp_micros(F.lit(bound)) for bound in (least, greatest)]
        of_dates = read(job.spark, commit).where(F.col("session_start").between(*bounds))
        after = summaries(of_dates.join(ids, "session_id", "left_semi"))
        states = computed_once(compared(before, after))
        if not is_told:
            _tell(job, stamp, _id_changes(job, stamp, feed, states, stored_rows), run)
        changed = sessions.counted(states)
        run.rows.update(changed.counts)
        note(", ".join(f"{number} sessions {change}" for change, number in changed.counts.items()))
        run.table = sessions.commit_summaries(job.spark, job.lake, run.table, changed, stamp)


def _touched(feed: DataFrame) -> DataFrame:
    """Return the sessions with a row that changed, as it was or as it is, and how many were stored before."""
    sessions_of_rows = feed.where(F.col("session_id").isNotNull()).groupBy("session_id")
    is_old = F.col("_change_type").isin(*_OLD)
    return computed_once(
        sessions_of_rows.agg(F.min("session_start").alias("session_start"), F.count_if(is_old).alias("stored_rows"))
    )


def _id_changes(job: _Job, stamp: Stamp, feed: DataFrame, states: DataFrame, stored_rows: int) -> DataFrame:
    """Return what became of the ids of a commit that changed so many stored rows."""
    if not stored_rows:
        return _no_changes(job.spark)
    old = feed.where(F.col("_change_type").isin(*_OLD))
    new = feed.where(F.col("_change_type").isin(*_NEW))
    moved = moved_rows(F.broadcast(old) if stored_rows < _BROADCAST_ROWS else old, new)
    settled = job.history.notes(stamp.version).get("settled_before")
    return id_changes(moved, states, end_of(date.fromisoformat(settled)) if settled else None, job.rule)


def _tell(job: _Job, stamp: Stamp, changes: DataFrame, run: _Run) -> None:
    """Append the changes of ids of a commit, and count them."""
    changes = computed_once(changes)
    counted = changes.groupBy("kind", "days_late", "was_settled").count().collect()
    number = sum(row["count"] for row in counted)
    noted = {"ods_version": F.lit(stamp.version).cast("bigint"), "changed_at": F.lit(job.history.time(stamp.version))}
    rows = changes.withColumns(noted)
    run.id_table = sessions.append_changes(job.spark, job.lake, run.id_table, rows, number, stamp)
    for row in counted:
        run.moves[row["kind"], row["days_late"]] += row["count"]
        run.settled_moves += row["count"] if row["was_settled"] else 0


def _restamp(job: _Job, stamp: Stamp, run: _Run, *, is_told: bool) -> None:
    """Note that both tables equal a version that changed none of their rows."""
    if not is_told:
        run.id_table = _tell_nothing(job, stamp, run.id_table)
    run.table = sessions.commit_stamp(job.spark, job.lake, run.table, stamp)


def _tell_nothing(job: _Job, stamp: Stamp, id_table: Snapshot) -> Snapshot:
    """Note that session_changes is complete up to a version; return it after that."""
    return sessions.append_changes(job.spark, job.lake, id_table, _no_changes(job.spark), 0, stamp)


def _no_changes(spark: SparkSession) -> DataFrame:
    columns = [f"{column.name} {column.sql_type}" for column in SESSION_CHANGES.columns]
    return spark.createDataFrame([], ", ".join([*columns, "days_late INT"]))
