"""How a delivery is landed: its files become raw_events and raw_quarantine, and the ledger says so.

Knows the order of reads and commits, and what is refused. Must not know Dagster, the environment, file formats or
ods_sessions.

A crash needs no repair. The ledger first says that the landing has begun and last that it has ended: in between
ods_sessions refuses the day, and landing it again mends it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake.lake import Lake, LakeError
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.tables import RAW_EVENTS, RAW_QUARANTINE
from sessions_assets.landing.batches import Delivery, DeliveryError, Landing
from sessions_assets.landing.layouts import layouts, reading
from sessions_assets.landing.readers import read_rows
from sessions_assets.pipeline.code_version import code
from sessions_assets.pipeline.progress import LOGGER, phase
from sessions_assets.pipeline.results import LandedDay
from sessions_assets.rule import events
from sessions_assets.rule.events import ARRIVAL_DAY


def land(lake: Lake, landing: Landing, days: Sequence[date], lateness_days: int) -> dict[date, LandedDay]:
    """Replace the raw partitions of these days by their batches, and quarantine what is no event.

    A batch that has landed, and would give the same rows again, is only counted.

    Returns:
        The numbers of each day that has a batch; a day without one is left out.

    Raises:
        DeliveryError: no day has a batch, or a batch cannot be taken; raw_events is as it was then.
        ClosedDayError: a day has expired; nothing is changed then (R21).
        LakeError: a file changed while it was read; landing the day again mends it.
    """
    deliveries = landing.find(days)
    if not deliveries:
        raise DeliveryError(landing.missing(days[0]))
    held = _held(lake, deliveries, lake.ledger.open_entries(deliveries), lateness_days)
    fresh = {day: found for day, found in deliveries.items() if day not in held}
    landed = read(lake, landing, held, lateness_days)[1] if held else {}
    if fresh:
        rows, of_fresh = read(lake, landing, fresh, lateness_days)
        begun = [_entry(found, of_fresh[day], lateness_days) for day, found in fresh.items()]
        delivered, refused = _write(lake, rows, of_fresh, begun)
        _count(lake, of_fresh)
        _check_kept(of_fresh, delivered, refused)
        lake.ledger.record([_entry(found, of_fresh[day], lateness_days) for day, found in fresh.items()])
        landed |= of_fresh
    _count(lake, {day: landed[day] for day in held})
    return dict(sorted(landed.items()))


def _held(
    lake: Lake, deliveries: Mapping[date, Delivery], entries: Mapping[date, Entry], lateness_days: int
) -> dict[date, Delivery]:
    """Find the batches that have landed as they lie here now, under this lateness and code, and are there whole."""
    same = {
        day: entry
        for day, entry in entries.items()
        if entry.landed_at
        and (entry.fingerprint, entry.lateness_days, entry.code) == (deliveries[day].fingerprint, lateness_days, code())
    }
    accepted, refused = lake.count_rows(RAW_EVENTS, same), lake.count_rows(RAW_QUARANTINE, same)
    whole = [day for day, e in same.items() if (accepted[day], refused[day]) == (e.rows_accepted, e.rows_quarantined)]
    if whole:
        LOGGER.info("landed already: %s", ", ".join(deliveries[day].source for day in whole))
    return {day: deliveries[day] for day in whole}


def read(
    lake: Lake, landing: Landing, deliveries: Mapping[date, Delivery], lateness_days: int
) -> tuple[DataFrame, dict[date, LandedDay]]:
    """Read delivered rows, typed and judged, not yet counted.

    Returns:
        The answer of `events.typed`; and what is known of each day before its rows are counted.

    Raises:
        DeliveryError: a batch cannot be taken.
    """
    files_by_layout = layouts(lake.spark, landing, list(deliveries.values()))
    landed = {day: LandedDay(found.source) for day, found in deliveries.items()}
    day_of = {file: day for day, found in deliveries.items() for file in found.files}
    for layout, files in files_by_layout.items():
        for file in files:
            landed[day_of[file]].additional_columns |= dict.fromkeys(layout.additional)
    return events.typed(read_rows(lake.spark, files_by_layout), lateness_days), landed


def _write(lake: Lake, rows: DataFrame, landed: Mapping[date, LandedDay], begun: Collection[Entry]) -> tuple[int, int]:
    """Write the rows; give the number of all that were delivered, and of those that were refused."""
    known = lake.ledger.begin(begun)
    # Counted while they are written, so that a batch is read once, unless something in it is refused.
    is_refused = F.col("reason").isNotNull()
    seen = Observation()
    observed = rows.observe(seen, F.count("*").alias("delivered"), F.count_if(is_refused).alias("refused"))
    try:
        with reading(), phase("write raw_events") as say:
            lake.replace_days(RAW_EVENTS, landed, observed.where(~is_refused))
            numbers = seen.get
            say(f"{', '.join(day.source for day in landed.values())}: {numbers['delivered']} rows")
    except DeliveryError:
        # Raw is as it was, so what the ledger said of it still holds.
        lake.ledger.take_back(landed, known)
        raise
    lake.create(RAW_QUARANTINE)
    if numbers["refused"] or any(lake.count_rows(RAW_QUARANTINE, landed).values()):
        with phase("write raw_quarantine") as say:
            lake.replace_days(RAW_QUARANTINE, landed, rows.where(is_refused))
            say(f"{numbers['refused']} rows")
    return numbers["delivered"], numbers["refused"]


def _count(lake: Lake, landed: Mapping[date, LandedDay]) -> None:
    """Count what the tables hold of each day: events by how late they are, other rows by their reason."""
    for day, days_late, rows in lake.count_days(RAW_EVENTS, landed, f"{ARRIVAL_DAY} - CAST(timestamp AS DATE)"):
        landed[day].late_by_days[days_late] = rows
    for day, reason, rows in lake.count_days(RAW_QUARANTINE, landed, "reason"):
        landed[day].quarantined[reason] = rows


def _check_kept(landed: Mapping[date, LandedDay], delivered: int, refused: int) -> None:
    """Make sure that what the tables hold is what was delivered."""
    accepted = sum(day.rows_accepted for day in landed.values())
    quarantined = sum(day.rows_quarantined for day in landed.values())
    if (accepted + refused, quarantined) != (delivered, refused):
        raise LakeError(
            f"{', '.join(day.source for day in landed.values())}: {delivered} rows were delivered and {refused} of "
            f"them refused, but {accepted} events and {quarantined} refused rows were kept: a file changed meanwhile? "
            "Materialize it again"
        )


def _entry(delivery: Delivery, landed: LandedDay, lateness_days: int) -> Entry:
    return Entry(
        delivery.day,
        delivery.source,
        delivery.fingerprint,
        landed.rows_delivered,
        landed.rows_accepted,
        landed.rows_quarantined,
        datetime.now(UTC),
        lateness_days=lateness_days,
        code=code(),
    )
