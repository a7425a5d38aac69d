"""How landed days are applied: what they hold in raw_events becomes ods_sessions, by one commit of what they change.

Knows the order of reads and commits, and what is refused. Must not know Dagster, the environment, files or how a
session is computed.

A crash needs no repair: it is one commit, and applying a day again changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.lake import Lake, LakeError, Measured
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.spark import shuffle_partitions_for
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.pipeline.code_version import code
from sessions_assets.pipeline.progress import LOGGER, phase
from sessions_assets.pipeline.results import AppliedDay, AppliedRun, count_changes, count_measured
from sessions_assets.rule.changes import changes, earliest_changes, held_elsewhere
from sessions_assets.rule.events import ARRIVAL_DAY, IDENTITY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule

# The keys of a batch go to every executor while they are this few (about 100 bytes each); beyond, Spark decides.
_BROADCAST_KEYS = 1_000_000

# As one block of bytes for each task: a million rows as objects would keep the garbage collector busy.
_IN_BYTES = StorageLevel.MEMORY_AND_DISK


def apply(lake: Lake, days: Sequence[date], rule: SessionRule) -> AppliedRun:
    """Bring ods_sessions to what the rule says now that these days are delivered (R14 to R19).

    Returns:
        The numbers of the run; a day that was not delivered is left out.

    Raises:
        LakeError: no day was delivered, a raw partition is not the one the ledger knows, the table was built under
            another rule, or somebody else writes it; nothing is written or noted as applied then.
        ClosedDayError: a day has expired (R21).
    """
    entries = lake.ledger.open_entries(days)
    if not entries:
        raise LakeError(f"no batch of {', '.join(map(str, days))} was delivered: materialize raw_events first")
    # All queries read the same rows, though the day may be landed anew meanwhile; the ledger notices that at the end.
    raw_version = lake.version(RAW_EVENTS)
    _check_raw(lake, entries, raw_version)
    lake.create(ODS_SESSIONS, rule.as_properties())
    pending = _pending(lake, entries)
    days_of_run = {day: AppliedDay(entry.rows_accepted) for day, entry in entries.items()}
    run = AppliedRun(days_of_run, [entry.day for entry in pending], raw_version)
    # Before the rule is checked: a rebuild that comes after this is noticed when the changes are written.
    run.version = lake.version(ODS_SESSIONS)
    check_rule(lake, rule)
    # Read anew by each query: that costs less than to keep it.
    batch = lake.read_days(RAW_EVENTS, list(run.days), raw_version)
    with phase("read") as say:
        measured = lake.measure(RAW_EVENTS, days_of_run, raw_version)
        measured += lake.measure(ODS_SESSIONS, days_of_run, run.version)
        count_measured(run, measured)
        say(f"{run.rows_delivered} rows of {len(run.days)} batches")
    # What a day delivered anew has lost is looked for in all raw days: there Spark should see how little that is.
    is_new = not any(found.is_stored for found in measured)
    rows = sum(entry.rows_accepted for entry in pending)
    with shuffle_partitions_for(lake.spark, rows, is_planned_once=is_new):
        changed = compute(lake, batch, measured, run, rule)
        if changed is not None:
            _merge(lake, changed, run)
    if pending:
        lake.ledger.record_applied(pending, _mark(lake.commit_id(ODS_SESSIONS, run.version)))
    return run


def _pending(lake: Lake, entries: Mapping[date, Entry]) -> list[Entry]:
    """Leave out the days that ods_sessions holds, as they landed and under this code, if nobody else has written it.

    Whatever else was applied since, the table is the rule over all deliveries (R18).
    """
    marks = {_mark(commit) for commit in lake.own_commits(ODS_SESSIONS)}
    held = [entry for entry in entries.values() if entry.applied_at and entry.applied_by in marks]
    if held:
        LOGGER.info("held already: %s", ", ".join(str(entry.day) for entry in held))
    return [entry for entry in entries.values() if entry not in held]


def _mark(commit: str) -> str:
    return f"{commit} {code()}"


def compute(
    lake: Lake, batch: DataFrame, measured: Sequence[Measured], run: AppliedRun, rule: SessionRule
) -> DataFrame | None:
    """Compute the rows that a run has to write, and count them; None if there are none.

    Args:
        lake: from which the stored rows are read, in the version of the run.
        batch: accepted rows of the days of the run, with `_updated_at`.
        measured: what the batch holds of these days, and ods_sessions.
        run: whose numbers are filled in.
        rule: the one that the table was built with.

    Returns:
        The answer of `changes`, computed and fixed.
    """
    pending = [found for found in measured if found.day in run.pending]
    if not pending:
        return None
    with phase("compute") as say:
        # Computed once: it is counted, written, and read for what it replaces.
        of_days = batch.where(F.col(ARRIVAL_DAY).isin(*run.pending))
        changed = _changes(lake, of_days, pending, run, rule).localCheckpoint(storageLevel=_IN_BYTES)
        count_changes(run, changed)
        say(", ".join(f"{rows} rows {change}" for change, rows in run.rows.items()))
    return changed if any(run.rows.values()) else None


def _check_raw(lake: Lake, entries: Mapping[date, Entry], version: int) -> None:
    found = lake.count_rows(RAW_EVENTS, entries, version)
    for day, entry in entries.items():
        if entry.landed_at is None or found[day] != entry.rows_accepted:
            said = "was begun and has not ended" if entry.landed_at is None else f"had {entry.rows_accepted}"
            raise LakeError(
                f"raw_events holds {found[day]} rows of {day}, but its landing {said}: "
                f"materialize raw_events of {day} again"
            )


def check_rule(lake: Lake, rule: SessionRule) -> None:
    """Make sure that ods_sessions was built under this rule (R22).

    Raises:
        LakeError: it was built under another one.
    """
    stored = lake.properties(ODS_SESSIONS)
    differing = {name: value for name, value in rule.as_properties().items() if stored.get(name) != value}
    if differing:
        built_with = ", ".join(f"{name}={stored.get(name)}" for name in differing)
        asked_for = ", ".join(f"{name}={value}" for name, value in differing.items())
        raise LakeError(
            f"{lake.path(ODS_SESSIONS)} was built with {built_with}, this run asks for {asked_for}: go back to the old "
            "rule, or build the table anew under this one: "
            "dagster job execute -m sessions_assets.definitions -j rebuild_sessions"
        )


def _stored_of_days(lake: Lake, days: Collection[date], version: int) -> DataFrame:
    return lake.read(ODS_SESSIONS, version).where(F.col("first_updated_at").isin(*days))


def _changes(
    lake: Lake, batch: DataFrame, measured: Sequence[Measured], run: AppliedRun, rule: SessionRule
) -> DataFrame:
    """Find the rows to write, from no more stored rows than the days can change (R14)."""
    days = run.pending
    incoming, touched = batch, batch
    if any(found.is_stored for found in measured):
        stored_of_days = _stored_of_days(lake, days, run.version)
        other_raw = lake.read(RAW_EVENTS, run.raw_version).where(~F.col(ARRIVAL_DAY).isin(*days))
        incoming = batch.unionByName(held_elsewhere(stored_of_days, batch, other_raw))
        touched = batch.select(*IDENTITY_COLUMNS).unionByName(stored_of_days.select(*IDENTITY_COLUMNS))
    since = earliest_changes(touched)
    # A key that is both late and in time counts twice: the number only chooses a way.
    if sum(found.keys for found in measured) < _BROADCAST_KEYS:
        since = F.broadcast(since)
    first = min(found.first for found in measured) - rule.timeout
    return changes(incoming, lake.sessions_in_reach(first.date(), run.version), since, days, rule)


def _merge(lake: Lake, changed: DataFrame, run: AppliedRun) -> None:
    """Write the changed rows."""
    first, last = run.dates
    with phase("merge") as say:
        run.version = lake.merge_sessions(changed, run.rows, first, last, run.version)
        say(f"event dates {first} to {last}, version {run.version}")
