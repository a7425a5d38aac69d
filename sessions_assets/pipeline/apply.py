"""Apply landed days to ods_sessions: one commit of the rows they change.

`plan_apply` refuses what cannot be applied, `compute` finds what changes, `commit` writes it. Must not know Dagster,
the environment, batch files or how a session is computed.
Source of the rules: R16 (one commit), R18, R22, R24, R30.

A crash needs no repair: it is one commit, and applying a day again changes nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import SparkSession

from sessions_assets.lake import ods, raw, writes
from sessions_assets.lake.commits import Committed, RowChanges
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import Lake, LakeError, count_rows, measure
from sessions_assets.lake.ledger import Entry, open_among
from sessions_assets.lake.settled import ANY_DAY, Calendar, settled, told
from sessions_assets.lake.spark import create
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.pipeline.code_version import code_version
from sessions_assets.pipeline.compute import ApplyPlan, Batch, Changes, compute
from sessions_assets.pipeline.progress import LOGGER, phase
from sessions_assets.pipeline.results import ApplyResult
from sessions_assets.rule.changes import DELETE, INSERT, UPDATE
from sessions_assets.rule.events import IDENTITY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule


def apply(
    spark: SparkSession, lake: Lake, days: Sequence[date], rule: SessionRule, calendar: Calendar = ANY_DAY
) -> ApplyResult:
    """Bring ods_sessions to what the rule says now that these days are delivered (R14 to R19).

    Returns:
        The numbers of the run; a day that was not delivered is left out.

    Raises:
        LakeError: no day was delivered, a raw partition is not the one the ledger knows, the table was built under
            another rule, or another run writes it; nothing is written or noted as applied then.
        ClosedDayError: a day has expired (R21).
    """
    plan = plan_apply(lake, days, rule, calendar)
    return commit(spark, lake, plan, compute(spark, plan, landed_batch(spark, plan)))


def plan_apply(lake: Lake, days: Sequence[date], rule: SessionRule, calendar: Calendar = ANY_DAY) -> ApplyPlan:
    """Find what is to be applied, and refuse what cannot be; nothing is written, and no Spark is needed.

    Raises:
        LakeError: no day was delivered, a raw partition is not the one the ledger knows, or ods_sessions was built
            under another rule.
        ClosedDayError: a day has expired (R21).
    """
    ledger = lake.ledger.entries()
    entries = open_among(ledger, days)
    if not entries:
        raise LakeError(f"no batch of {', '.join(map(str, days))} was delivered: materialize raw_events first")
    # All queries read the same rows, though the day may be landed again meanwhile; the ledger notices that at the end.
    raw_events = lake.find(RAW_EVENTS)
    _check_raw(raw_events, entries)
    # A rebuild that comes after this is noticed when the changes are committed.
    sessions = lake.find(ODS_SESSIONS)
    if sessions is not None:
        check_rule(sessions, rule)
    # Asked for at once: later there may be newer ones.
    commits = ods.own_commits(sessions) if sessions else []
    pending = tuple(_pending(commits, entries, rule))
    delivered = {name for entry in entries.values() for name in entry.attribute_names or ()}
    is_empty = not any(entry.rows_accepted for entry in entries.values())
    absent = () if is_empty else tuple(name for name in rule.carried if name not in delivered)
    return ApplyPlan(
        tuple(entries),
        tuple(entry.day for entry in pending),
        raw_events,
        sessions,
        rule,
        pending,
        absent,
        told(ledger),
        settled(ledger | {e.day: replace(e, applied_at=datetime.now(UTC)) for e in pending}, calendar),
        next(iter(commits), None),
    )


def _check_raw(raw_events: Snapshot | None, entries: Mapping[date, Entry]) -> None:
    stored = count_rows(raw_events, entries)
    for day, entry in entries.items():
        if entry.landed_at is None or stored[day] != entry.rows_accepted:
            landing = "was begun and has not ended" if entry.landed_at is None else f"had {entry.rows_accepted}"
            raise LakeError(
                f"raw_events holds {stored[day]} rows of {day}, but its landing {landing}: "
                f"materialize raw_events of {day} again"
            )


def check_rule(sessions: Snapshot, rule: SessionRule) -> None:
    """Make sure that ods_sessions was built under this rule (R22), and can have its carried attributes (R24).

    Raises:
        LakeError: it was built under another one, or cannot.
    """
    ods.check_columns(sessions, rule.carried)
    if differing := rule.differing_properties(sessions.properties()):
        wanted = rule.as_properties()
        built_with = ", ".join(f"{name}={value}" for name, value in differing.items())
        asked_for = ", ".join(f"{name}={wanted[name]}" for name in differing)
        raise LakeError(
            f"{sessions.address} was built with {built_with}, this run asks for {asked_for}: go back to the old "
            "rule, or rebuild the table under this one: "
            "dagster job execute -m sessions_assets.definitions -j rebuild_sessions"
        )


def _pending(commits: Sequence[str], entries: Mapping[date, Entry], rule: SessionRule) -> list[Entry]:
    """Leave out the days that ods_sessions holds, as they landed and under this code, if nobody else has written it.

    Whatever else was applied since, the table is the rule over all deliveries (R18).
    """
    own = {_applied_by(commit, rule) for commit in commits}
    held = [entry for entry in entries.values() if entry.applied_at and entry.applied_by in own]
    if held:
        LOGGER.info("applied already: %s", ", ".join(str(entry.day) for entry in held))
    return [entry for entry in entries.values() if entry not in held]


def _applied_by(commit_id: str, rule: SessionRule) -> str:
    # The rule itself is a property of the table; what it carries decides which rows an application changes.
    return f"{commit_id} {code_version()}{_carrying(rule)}"


def _carrying(rule: SessionRule) -> str:
    return f" {json.dumps(rule.carried)}" if rule.carried else ""


def is_applied_with(entry: Entry, rule: SessionRule) -> bool:
    """Return whether a day was applied while just these attributes were carried (R24)."""
    return entry.applied_by is not None and entry.applied_by.endswith(_carrying(rule))


def landed_batch(spark: SparkSession, plan: ApplyPlan) -> Batch:
    """Return what raw_events holds of the days of a run.

    Raises:
        LakeError: there is no raw_events.
    """
    if plan.raw is None:
        raise LakeError("the table raw_events does not exist: materialize raw_events of these days first")
    with phase("read") as note:
        measured = measure(RAW_EVENTS, plan.raw, plan.days)
        note(f"{sum(part.rows for part in measured)} rows of {len(plan.days)} batches")
    # Each query reads the rows again: that costs less than to keep them.
    return Batch(raw.read_events(spark, plan.raw, plan.pending, plan.rule.carried), measured)


def commit(spark: SparkSession, lake: Lake, plan: ApplyPlan, changes: Changes) -> ApplyResult:
    """Write the changed rows in one commit, then note in the ledger which commit holds the days.

    Raises:
        LakeError: another run has written ods_sessions since the plan, or created it under another rule, or the rows to
            write are not as many as were counted; nothing is noted in the ledger then.
    """
    sessions = plan.ods
    if sessions is None:
        properties = plan.rule.as_properties() | ods.carried_property(plan.rule.carried)
        create(spark, lake, ODS_SESSIONS.carrying(plan.rule.carried), properties)
        # The changes were computed from no rows: if another run has written since, the commit is refused.
        sessions = lake.snapshot(ODS_SESSIONS, version=0)
        check_rule(sessions, plan.rule)
    counts = changes.counts
    if changes.rows is not None and counts.dates:
        rows, carried = counts.rows, plan.rule.carried
        columns = ods.columns_of(changes.rows, carried)
        changed = RowChanges(
            changes.rows, rows[INSERT], rows[UPDATE], rows[DELETE], *counts.dates, columns, IDENTITY_COLUMNS, "pdate"
        )
        with phase("commit") as note:
            sessions = ods.prepare(spark, lake, sessions, carried)
            made = writes.commit_changes(spark, sessions, changed, lake.commit, _notes(plan, changes))
            note(f"event dates {changed.first} to {changed.last}, version {made.version}")
    else:
        made = Committed(sessions.version, plan.ods_commit)
    if plan.entries:
        commit_id = made.txn_id or ods.commit_id(lake.snapshot(ODS_SESSIONS, made.version))
        lake.ledger.record_applied(plan.entries, _applied_by(commit_id, plan.rule), **asdict(plan.final))
    numbers = {field.name: getattr(counts, field.name) for field in fields(counts)}
    return ApplyResult(**numbers, version=made.version, absent=plan.absent, final=plan.final)


def _notes(plan: ApplyPlan, changes: Changes) -> dict[str, Any]:
    """Return what the commit notes of itself: its days, how far dates are final, and what that did not keep (R30)."""
    found = changes.counts.settled
    return {
        "days": [str(day) for day in plan.pending],
        **asdict(plan.final),
        "settled_before": plan.settled_through,
        "settled_changed": asdict(found),
    }
