"""How a delivery is landed: its files become raw_events and raw_quarantine, and the ledger says so.

Knows the order of reads and commits, and what is refused. Must not know Dagster, the environment, file formats or
ods_sessions.

A crash needs no repair. The ledger first says that the landing has begun and last that it has ended: in between
ods_sessions refuses the day, and landing it again mends it.
"""

from collections.abc import Sequence
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
    files_by_layout = layouts(lake.spark, landing, list(deliveries.values()))
    rows = read_rows(lake.spark, files_by_layout)
    landed = {day: LandedDay(found.source) for day, found in deliveries.items()}
    day_of = {file: day for day, found in deliveries.items() for file in found.files}
    for layout, files in files_by_layout.items():
        for file in files:
            landed[day_of[file]].additional_columns |= dict.fromkeys(layout.additional)
    _count_delivered(rows, landed)
    _write(lake, events.typed(rows, lateness_days), [_entry(found, landed[day]) for day, found in deliveries.items()])
    _count_landed(lake, landed)
    lake.ledger.record([_entry(found, landed[day]) for day, found in deliveries.items()])
    return landed


def _count_delivered(rows: DataFrame, landed: dict[date, LandedDay]) -> None:
    with reading():
        counts = rows.groupBy(ARRIVAL_DAY).count().collect()
    for row in counts:
        landed[row[ARRIVAL_DAY]].rows_delivered = row["count"]


def _write(lake: Lake, rows: DataFrame, entries: Sequence[Entry]) -> None:
    days = [entry.day for entry in entries]
    known = lake.ledger.begin(entries)
    try:
        with reading():
            lake.replace_days(RAW_EVENTS, days, rows.where(F.col("reason").isNull()))
    except DeliveryError:
        # Raw is as it was, so what the ledger said of it still holds.
        lake.ledger.take_back(days, known)
        raise
    lake.replace_days(RAW_QUARANTINE, days, rows.where(F.col("reason").isNotNull()))


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
