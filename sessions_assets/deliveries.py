"""What happens to a delivery: it is landed (files to raw_events), then applied (raw_events to ods_sessions).

Knows the order of reads and commits, and what is refused. Must not know Dagster, the environment, file formats or how
a session is computed.

A crash between two commits needs no repair. The ledger row of a landing goes first and comes back last: in between
ods_sessions refuses the day as not delivered. An application is one MERGE, and doing it again changes nothing.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets import events
from sessions_assets.events import ARRIVAL_DAY, IDENTITY_COLUMNS, KEY_COLUMNS
from sessions_assets.formats import layouts, read_rows, reading
from sessions_assets.lake import Lake, LakeError
from sessions_assets.landing import Delivery, DeliveryError, Landing
from sessions_assets.ledger import Entry
from sessions_assets.numbers import AppliedDay, AppliedRun, LandedDay, count_changes, count_sessions, count_stored
from sessions_assets.sessions import SessionRule, changes, earliest_changes, held_elsewhere
from sessions_assets.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE

# The keys of a batch go to every executor while they are this few (about 100 bytes each); beyond, Spark decides.
_BROADCAST_KEYS = 1_000_000


def land(lake: Lake, landing: Landing, days: Sequence[date], lateness_days: int) -> dict[date, LandedDay]:
    """Replace the raw partitions of these days by their batches, and quarantine what is no event.

    Returns:
        The numbers of each day that has a batch; a day without one is left out.

    Raises:
        DeliveryError: no day has a batch, or a batch cannot be taken; raw_events is as it was then.
        LakeError: a file changed while it was read; landing the day again mends it.
    """
    deliveries = landing.find(days)
    if not deliveries:
        raise DeliveryError(landing.missing(days[0]))
    files_by_layout = layouts(lake.spark, landing, list(deliveries.values()))
    rows = read_rows(lake.spark, files_by_layout)
    landed = {day: LandedDay(found.source) for day, found in deliveries.items()}
    day_of = {file: day for day, found in deliveries.items() for file in found.files}
    for layout, files in files_by_layout.items():
        for file in files:
            landed[day_of[file]].additional_columns |= dict.fromkeys(layout.additional)
    _count_delivered(rows, landed)
    _write(lake, events.typed(rows, lateness_days), landed)
    _count_landed(lake, landed)
    lake.ledger.record([_entry(found, landed[day]) for day, found in deliveries.items()])
    return landed


def _count_delivered(rows: DataFrame, landed: dict[date, LandedDay]) -> None:
    with reading():
        counts = rows.groupBy(ARRIVAL_DAY).count().collect()
    for row in counts:
        landed[row[ARRIVAL_DAY]].rows_delivered = row["count"]


def _write(lake: Lake, rows: DataFrame, landed: dict[date, LandedDay]) -> None:
    known = lake.ledger.forget(landed)
    try:
        with reading():
            lake.replace_days(RAW_EVENTS, landed, rows.where(F.col("reason").isNull()))
    except DeliveryError:
        # Raw is as it was, so what the ledger said of it still holds.
        lake.ledger.record(known.values())
        raise
    lake.replace_days(RAW_QUARANTINE, landed, rows.where(F.col("reason").isNotNull()))


def _count_landed(lake: Lake, landed: dict[date, LandedDay]) -> None:
    """Count what the tables hold of each day, and make sure that no row got lost."""
    days_late = F.date_diff(ARRIVAL_DAY, F.to_date("timestamp")).cast("string")
    no_reason = F.lit(None).cast("string")
    raw = lake.read_days(RAW_EVENTS, landed).select(
        ARRIVAL_DAY, no_reason.alias("reason"), days_late.alias("days_late")
    )
    refused = lake.read_days(RAW_QUARANTINE, landed).select(ARRIVAL_DAY, "reason", F.lit(None).alias("days_late"))
    for row in raw.union(refused).groupBy(ARRIVAL_DAY, "reason", "days_late").count().collect():
        day = landed[row[ARRIVAL_DAY]]
        if row["reason"]:
            day.quarantined[row["reason"]] = row["count"]
        else:
            day.rows_accepted += row["count"]
            day.late_by_days[int(row["days_late"])] = row["count"]
    for name, day in landed.items():
        kept = day.rows_accepted + day.rows_quarantined
        if day.rows_delivered != kept:
            raise LakeError(
                f"batch {name} has {day.rows_delivered} rows, but {kept} were kept: file changed meanwhile?"
            )


def _entry(delivery: Delivery, landed: LandedDay) -> Entry:
    return Entry(
        delivery.day,
        delivery.source,
        delivery.fingerprint,
        landed.rows_delivered,
        landed.rows_accepted,
        landed.rows_quarantined,
        datetime.now(UTC),
    )


def apply(lake: Lake, days: Sequence[date], rule: SessionRule) -> AppliedRun:
    """Bring ods_sessions to what the rule says now that these days are delivered (S14 to S19).

    Returns:
        The numbers of the run; a day that was not delivered is left out.

    Raises:
        LakeError: no day was delivered, a raw partition is not the one the ledger knows, the table was built under
            another rule, or somebody else writes it; nothing is noted as applied then.
    """
    entries = lake.ledger.entries(days)
    if not entries:
        raise LakeError(f"no batch of {', '.join(map(str, days))} was delivered: materialize raw_events first")
    lake.create(ODS_SESSIONS, rule.as_properties())
    _check_rule(lake, rule)
    run = AppliedRun({day: AppliedDay(entry.rows_accepted) for day, entry in entries.items()})
    run.version = lake.version(ODS_SESSIONS)
    batch = lake.read_days(RAW_EVENTS, list(run.days)).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        changed = _changes(lake, batch, run, rule)
        if changed is not None:
            _merge(lake, changed, run)
    finally:
        batch.unpersist()
    lake.ledger.record_applied(entries.values())
    return run


def _check_rule(lake: Lake, rule: SessionRule) -> None:
    stored = lake.properties(ODS_SESSIONS)
    differing = {name: value for name, value in rule.as_properties().items() if stored.get(name) != value}
    if differing:
        built_with = ", ".join(f"{name}={stored.get(name)}" for name in differing)
        asked_for = ", ".join(f"{name}={value}" for name, value in differing.items())
        raise LakeError(
            f"{lake.path(ODS_SESSIONS)} was built with {built_with}, this run asks for {asked_for}: "
            "use the old rule, or another SESSIONS_LAKE"
        )


def _changes(lake: Lake, batch: DataFrame, run: AppliedRun, rule: SessionRule) -> DataFrame | None:
    """Compute the rows to write, from no more stored rows than the days can change (S14)."""
    days = list(run.days)
    stored = lake.read(ODS_SESSIONS, run.version)
    stored_of_days = stored.where(F.col("first_updated_at").isin(*days))
    measured = _measure(batch, stored_of_days, rule)
    _check_raw(run, measured)
    if not measured:
        return None
    incoming, touched = batch, batch
    if count_stored(run, measured):
        other_raw = lake.read(RAW_EVENTS).where(~F.col(ARRIVAL_DAY).isin(*days))
        incoming = batch.unionByName(held_elsewhere(stored_of_days, batch, other_raw))
        touched = batch.select(*IDENTITY_COLUMNS).unionByName(stored_of_days.select(*IDENTITY_COLUMNS))
    since = earliest_changes(touched)
    if sum(row["keys"] for row in measured) < _BROADCAST_KEYS:
        since = F.broadcast(since)
    in_reach = stored.where(F.col("pdate") >= min(row["first_date"] for row in measured))
    return changes(incoming, in_reach, since, days, rule)


def _measure(batch: DataFrame, stored_of_days: DataFrame, rule: SessionRule) -> list[Row]:
    """Count rows and keys of each day, raw and stored, and find the first event date their sessions reach."""
    raw = batch.select(
        F.col(ARRIVAL_DAY).alias("day"),
        F.lit(False).alias("is_stored"),
        F.lit(False).alias("is_empty"),
        *IDENTITY_COLUMNS,
    )
    stored = stored_of_days.select(
        F.col("first_updated_at").alias("day"),
        F.lit(True).alias("is_stored"),
        F.col("session_start").isNull().alias("is_empty"),
        *IDENTITY_COLUMNS,
    )
    return (
        raw.union(stored)
        .groupBy("day", "is_stored")
        .agg(
            F.count("*").alias("rows"),
            F.count_if("is_empty").alias("empty"),
            F.approx_count_distinct(F.xxhash64(*KEY_COLUMNS)).alias("keys"),
            F.to_date(F.min("timestamp") - F.lit(rule.timeout)).alias("first_date"),
        )
        .collect()
    )


def _check_raw(run: AppliedRun, measured: list[Row]) -> None:
    rows = {row["day"]: row["rows"] for row in measured if not row["is_stored"]}
    for day, numbers in run.days.items():
        found = rows.get(day, 0)
        if found != numbers.rows_accepted:
            raise LakeError(
                f"raw_events holds {found} rows of {day}, its last finished landing had "
                f"{numbers.rows_accepted}: materialize raw_events of {day} again"
            )


def _merge(lake: Lake, changed: DataFrame, run: AppliedRun) -> None:
    """Write the changed rows, if there are any, and count them."""
    # Computed once, and fixed before the table changes; MERGE reads its source twice and refuses a cached one.
    changed = changed.localCheckpoint()
    was_empty = F.col("stored_session_start").isNull().alias("was_empty")
    is_empty = F.col("session_start").isNull().alias("is_empty")
    counts = (
        changed.groupBy("change", "first_updated_at", "stored_first_updated_at", was_empty, is_empty)
        .agg(F.count("*").alias("rows"), F.min("pdate").alias("first"), F.max("pdate").alias("last"))
        .collect()
    )
    if counts:
        count_changes(counts, run)
        run.sessions = count_sessions(changed)
        _check_version(lake, run)
        lake.merge_sessions(changed, min(row["first"] for row in counts), max(row["last"] for row in counts))
        run.version += 1
        _check_version(lake, run)


def _check_version(lake: Lake, run: AppliedRun) -> None:
    """Make sure that nobody else has written since the stored rows were read: his rows would be missing in ours."""
    if (found := lake.version(ODS_SESSIONS)) != run.version:
        raise LakeError(
            f"{lake.path(ODS_SESSIONS)} is at version {found} instead of {run.version}, another run writes it: "
            f"materialize {', '.join(map(str, run.days))} again, one run at a time"
        )
