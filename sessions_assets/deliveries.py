"""How a delivery is landed: its files become raw_events and raw_quarantine, and the ledger says so.

Knows the order of reads and commits, and what is refused. Must not know Dagster, the environment, file formats or
ods_sessions.

A crash needs no repair. The ledger first says that the landing has begun and last that it has ended: in between
ods_sessions refuses the day, and landing it again mends it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets import events
from sessions_assets.events import ARRIVAL_DAY
from sessions_assets.formats import layouts, read_rows, reading
from sessions_assets.lake import Lake, LakeError
from sessions_assets.landing import Delivery, DeliveryError, Landing
from sessions_assets.ledger import Entry
from sessions_assets.numbers import LandedDay
from sessions_assets.progress import phase
from sessions_assets.tables import RAW_EVENTS, RAW_QUARANTINE


def land(lake: Lake, landing: Landing, days: Sequence[date], lateness_days: int) -> dict[date, LandedDay]:
    """Replace the raw partitions of these days by their batches, and quarantine what is no event.

    Returns:
        The numbers of each day that has a batch; a day without one is left out.

    Raises:
        DeliveryError: no day has a batch, or a batch cannot be taken; raw_events is as it was then.
        ClosedDayError: a day has expired; nothing is changed then (S21).
        LakeError: a file changed while it was read; landing the day again mends it.
    """
    deliveries = landing.find(days)
    if not deliveries:
        raise DeliveryError(landing.missing(days[0]))
    lake.ledger.check_open(deliveries)
    with phase("count") as say:
        rows, landed = read(lake, landing, deliveries, lateness_days)
        _count(rows, landed)
        delivered = sum(day.rows_delivered for day in landed.values())
        refused = sum(day.rows_quarantined for day in landed.values())
        say(f"{', '.join(day.source for day in landed.values())}: {delivered} rows, {refused} refused")
    _write(lake, rows, landed, deliveries)
    _check_kept(lake, landed)
    lake.ledger.record([_entry(found, landed[day]) for day, found in deliveries.items()])
    return landed


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


def _count(rows: DataFrame, landed: dict[date, LandedDay]) -> None:
    """Count the rows of each day: those that are events by how late they are, the others by their reason."""
    is_event = F.col("reason").isNull()
    days_late = F.when(is_event, F.date_diff(ARRIVAL_DAY, F.to_date("timestamp")))
    with reading():
        counts = rows.groupBy(ARRIVAL_DAY, "reason", days_late.alias("days_late")).count().collect()
    for row in counts:
        day = landed[row[ARRIVAL_DAY]]
        day.rows_delivered += row["count"]
        if row["reason"]:
            day.quarantined[row["reason"]] = row["count"]
        else:
            day.rows_accepted += row["count"]
            day.late_by_days[row["days_late"]] = row["count"]


def _write(lake: Lake, rows: DataFrame, landed: Mapping[date, LandedDay], deliveries: Mapping[date, Delivery]) -> None:
    known = lake.ledger.begin([_entry(found, landed[day]) for day, found in deliveries.items()])
    try:
        with reading(), phase("write raw_events") as say:
            say(f"{sum(day.rows_accepted for day in landed.values())} rows")
            lake.replace_days(RAW_EVENTS, landed, rows.where(F.col("reason").isNull()))
    except DeliveryError:
        # Raw is as it was, so what the ledger said of it still holds.
        lake.ledger.take_back(landed, known)
        raise
    lake.create(RAW_QUARANTINE)
    if any(day.quarantined for day in landed.values()) or any(lake.count_rows(RAW_QUARANTINE, landed).values()):
        with phase("write raw_quarantine") as say:
            say(f"{sum(day.rows_quarantined for day in landed.values())} rows")
            lake.replace_days(RAW_QUARANTINE, landed, rows.where(F.col("reason").isNotNull()))


def _check_kept(lake: Lake, landed: Mapping[date, LandedDay]) -> None:
    """Make sure that no row got lost between counting and writing."""
    accepted, refused = lake.count_rows(RAW_EVENTS, landed), lake.count_rows(RAW_QUARANTINE, landed)
    for name, day in landed.items():
        if (accepted[name], refused[name]) != (day.rows_accepted, day.rows_quarantined):
            raise LakeError(
                f"batch {name} had {day.rows_accepted} events and {day.rows_quarantined} refused rows, but "
                f"{accepted[name]} and {refused[name]} were kept: file changed meanwhile? Materialize it again"
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
