"""What a run changes in ods_sessions: a plan, the rows that the rule changes, and their counts. Nothing is written.

Must not know Dagster, the environment, batch files, the ledger's writes or how a session is computed.
Source of the rules: R14 (what a batch can change), R17, R19.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake import ods
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Measured, measure
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.raw import as_events
from sessions_assets.lake.settled import NOT_SETTLED, Settled, end_of
from sessions_assets.lake.spark import computed_once, read, shuffle_partitions_for
from sessions_assets.lake.tables import ODS_SESSIONS
from sessions_assets.pipeline.progress import phase
from sessions_assets.pipeline.results import AppliedDay, ChangeCounts, SettledChanges
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE, changes, earliest_changes, held_elsewhere
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS
from sessions_assets.rule.outcomes import SESSION_OUTCOMES, session_outcomes
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.rule.settled_sessions import settled_sessions

SHOWN_SESSIONS = 20
"""How many of the settled sessions that change are named."""

# The keys of a batch go to every executor while they are this few (about 100 bytes each); beyond, Spark decides.
_BROADCAST_KEYS = 1_000_000


@dataclass(frozen=True)
class ApplyPlan:
    """What an application reads, pinned to versions.

    Attributes:
        days: the arrival days of the run, in their order.
        pending: those of them that ods_sessions does not hold yet; the others are only counted.
        raw: raw_events; None if there is no table.
        ods: ods_sessions; None if there is no table yet.
        rule: timeouts and user actions, those that ods_sessions was built with.
        entries: what the ledger knows of the pending days; empty in a preview.
        absent: carried attributes that no batch of the run has.
        settled_through: the latest event date that was ever told to be settled; None: none was.
        final: how far event dates are settled and sealed once the days are applied.
        ods_commit: the id of the commit of `ods`; None if there is no table yet, and in a preview.
    """

    days: tuple[date, ...]
    pending: tuple[date, ...]
    raw: Snapshot | None
    ods: Snapshot | None
    rule: SessionRule
    entries: tuple[Entry, ...] = ()
    absent: tuple[str, ...] = ()
    settled_through: date | None = None
    final: Settled = NOT_SETTLED
    ods_commit: str | None = None


@dataclass(frozen=True)
class Batch:
    """The accepted rows of the days of a run.

    Attributes:
        rows: the four event columns, `_updated_at` and `carried`; at least those of the pending days.
        measured: what they are, of all days.
    """

    rows: DataFrame
    measured: Sequence[Measured]


@dataclass(frozen=True)
class Changes:
    """The rows of ods_sessions that a run changes, as `rule.changes.changes` returns them, computed and fixed."""

    rows: DataFrame | None
    counts: ChangeCounts


def compute(spark: SparkSession, plan: ApplyPlan, batch: Batch) -> Changes:
    """Compute the rows of ods_sessions that a batch changes, and count them; nothing is written.

    Args:
        spark: a session with Delta's extension.
        plan: from which the stored rows are read.
        batch: of the days of the plan, landed or still in the landing.
    """
    stored = measure(ODS_SESSIONS, plan.ods, plan.days) if plan.ods else []
    if not any(part.day in plan.pending for part in (*batch.measured, *stored)):
        return Changes(None, _count([], plan.days, batch.measured, stored, {}))
    pending_rows = sum(part.rows for part in batch.measured if part.day in plan.pending)
    # Rows that a day delivered again has lost are looked for in all raw days: there adaptive execution helps.
    with phase("compute") as note, shuffle_partitions_for(spark, pending_rows, is_planned_once=not stored):
        # Computed once: it is counted, written, and read for what it replaces.
        changed = computed_once(_changed_rows(spark, plan, batch, stored))
        groups = _change_groups(changed)
        outcomes = session_outcomes(changed).collect()[0].asDict() if groups else {}
        settled = _settled_changes(spark, plan, changed, groups)
        counts = replace(_count(groups, plan.days, batch.measured, stored, outcomes), settled=settled)
        note(", ".join(f"{rows} rows {change}" for change, rows in counts.rows.items()))
    return Changes(changed if groups else None, counts)


def _changed_rows(spark: SparkSession, plan: ApplyPlan, batch: Batch, stored: Sequence[Measured]) -> DataFrame:
    """Find the rows to write, from no more stored rows than the days can change (R14)."""
    days = plan.pending
    measured = [part for part in (*batch.measured, *stored) if part.day in days]
    of_days = batch.rows.where(F.col(ARRIVAL_DAY).isin(*days))
    incoming, touched = of_days, of_days
    if plan.ods and plan.raw and any(part.day in days for part in stored):
        stored_of_days = read(spark, plan.ods).where(F.col("first_updated_at").isin(*days))
        other_raw = as_events(read(spark, plan.raw).where(~F.col(ARRIVAL_DAY).isin(*days)), plan.rule.carried)
        incoming = of_days.unionByName(held_elsewhere(stored_of_days, of_days, other_raw))
        touched = of_days.select(*IDENTITY_COLUMNS).unionByName(stored_of_days.select(*IDENTITY_COLUMNS))
    since = earliest_changes(touched)
    # A key that is both late and in time counts twice: the number only chooses a way.
    if sum(part.keys for part in measured) < _BROADCAST_KEYS:
        since = F.broadcast(since)
    first = min(part.first for part in measured) - plan.rule.longest_timeout
    stored_in_reach = ods.rows_in_reach(spark, plan.ods, first.date(), plan.rule.carried)
    return changes(incoming, stored_in_reach, since, days, plan.rule)


def _settled_changes(spark: SparkSession, plan: ApplyPlan, changed: DataFrame, groups: Sequence[Row]) -> SettledChanges:
    """Find the settled sessions that change; without a changed row on a settled date there is none."""
    if plan.settled_through is None or not groups or min(g["first"] for g in groups) > plan.settled_through:
        return SettledChanges()
    earliest = changed.agg(F.min(F.to_date(F.least("timestamp", "session_start", "stored_session_start"))))
    stored = ods.rows_in_reach(spark, plan.ods, earliest.collect()[0][0], ())
    found = computed_once(settled_sessions(changed, stored, end_of(plan.settled_through), plan.rule))
    day = F.to_date("session_end")
    number, *dates = found.agg(F.count("*"), F.min(day), F.max(day)).collect()[0]
    examples = found.orderBy("session_id").limit(SHOWN_SESSIONS).collect()
    return SettledChanges(number, tuple(row["session_id"] for row in examples), tuple(dates) if number else ())


def _change_groups(changed: DataFrame) -> list[Row]:
    """Count the changed rows by change, by first arrival day before and after, and by having a session."""
    was_empty = F.col("stored_session_start").isNull().alias("was_empty")
    is_empty = F.col("session_start").isNull().alias("is_empty")
    groups = changed.groupBy("change", "first_updated_at", "stored_first_updated_at", was_empty, is_empty)
    return groups.agg(F.count("*").alias("rows"), F.min("pdate").alias("first"), F.max("pdate").alias("last")).collect()


def _count(
    groups: Sequence[Row],
    days: Collection[date],
    delivered: Sequence[Measured],
    stored: Sequence[Measured],
    outcomes: Mapping[str, int],
) -> ChangeCounts:
    applied = {}
    for day in days:
        of_day = [part for part in stored if part.day == day]
        before = [group for group in groups if group["stored_first_updated_at"] == day]
        after = [g for g in groups if g["first_updated_at"] == day and g["change"] != DELETE]
        applied[day] = AppliedDay(
            late_by_days={part.days_late: part.rows for part in delivered if part.day == day},
            rows_inserted=_rows(g for g in after if g["change"] == INSERT),
            events_first_seen=sum(part.rows for part in of_day) + _rows(after) - _rows(before),
            empty_events=sum(part.rows for part in of_day if part.is_empty)
            + _rows(g for g in after if g["is_empty"])
            - _rows(g for g in before if g["was_empty"]),
        )
    return ChangeCounts(
        applied,
        {change: _rows(g for g in groups if g["change"] == change) for change in (INSERT, UPDATE, DELETE)},
        dict.fromkeys(SESSION_OUTCOMES, 0) | dict(outcomes),
        (min(g["first"] for g in groups), max(g["last"] for g in groups)) if groups else None,
    )


def _rows(groups: Iterable[Row]) -> int:
    return sum(group["rows"] for group in groups)
