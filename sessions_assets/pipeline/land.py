"""Land batches: their files become raw_events and raw_quarantine, and the ledger notes it.

`plan_land` refuses what cannot be landed, `compute` reads and judges the rows, `commit` writes them. Must not know
Dagster, the environment, file formats or ods_sessions.
Source of the rules: R8 (bad rows), R11 to R13 (lateness), R17 (a raw day is replaced), R20, R21, R26.

A crash needs no repair. The ledger first notes that the landing has begun and last that it has ended: in between
ods_sessions refuses the day, and landing it again mends it.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark user reads at once

from sessions_assets.lake import raw
from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.lake.lake import DAYS_LATE, Lake, LakeError, attribute_names, count_days, count_rows
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.spark import create
from sessions_assets.lake.tables import RAW_EVENTS, RAW_QUARANTINE
from sessions_assets.landing.batches import Delivery, DeliveryError, Landing
from sessions_assets.landing.readers import read_rows
from sessions_assets.landing.rows import named, reading
from sessions_assets.pipeline.clock_changes import KINDS, check_zone, counts_of_odd_times
from sessions_assets.pipeline.code_version import code_version
from sessions_assets.pipeline.progress import LOGGER, phase
from sessions_assets.pipeline.results import LandedDay
from sessions_assets.rule.events import IDENTITY_COLUMNS, PARSE_ERRORS, typed
from sessions_assets.rule.input_format import UTC as UTC_ZONE
from sessions_assets.rule.input_format import InputFormat


class LandingError(Exception):
    """Spark has failed to write batches, by no fault of theirs: it may succeed the next time. Names files and cause."""


@dataclass(frozen=True)
class LandPlan:
    """What a landing takes.

    Attributes:
        unchanged: batches that have landed already and would give the same rows again; they are only counted.
        fresh: the other ones.
        known: what the ledger knew of these days.
        lateness_days: N.
        input_format: how the source delivers events.
        raw_events: the table before the landing; None if it is not there yet.
        raw_quarantine: the same.
        judged_from: the versions of both that are judged again; None: the rows come from files.
    """

    unchanged: Mapping[date, Delivery]
    fresh: Mapping[date, Delivery]
    known: Mapping[date, Entry]
    lateness_days: int
    input_format: InputFormat
    raw_events: Snapshot | None
    raw_quarantine: Snapshot | None
    judged_from: str | None = None

    def begun(self, day: date) -> Entry:
        """Return the ledger's entry of a fresh batch while it is being landed: without numbers."""
        batch = self.fresh[day]
        entry = Entry(
            day,
            batch.source,
            batch.fingerprint,
            rows_delivered=0,
            rows_accepted=0,
            rows_quarantined=0,
            landed_at=None,
            lateness_days=self.lateness_days,
            code=code_version(),
            input_format=self.input_format.as_json(),
        )
        if self.judged_from is None:
            return entry
        # Until the end the rows are still read from those versions.
        known = self.known[day]
        return replace(
            entry, judged_from=self.judged_from, attributes=known.attributes, input_format=known.input_format
        )

    def ended(self, day: date, numbers: LandedDay) -> Entry:
        """Return the ledger's entry of a fresh batch that has landed."""
        return replace(
            self.begun(day),
            rows_delivered=numbers.rows_delivered,
            rows_accepted=numbers.rows_accepted,
            rows_quarantined=numbers.rows_quarantined,
            landed_at=datetime.now(UTC),
            attributes=json.dumps(numbers.attributes, ensure_ascii=False),
            judged_from=None,
            input_format=self.input_format.as_json(),
            ambiguous_times=numbers.ambiguous_times,
            missing_times=numbers.missing_times,
        )


def land(
    spark: SparkSession, lake: Lake, landing: Landing, days: Sequence[date], lateness_days: int
) -> dict[date, LandedDay]:
    """Replace the raw partitions of these days by their batches, and quarantine what is no event.

    A batch that has landed, and would give the same rows again, is only counted.

    Returns:
        The numbers of each day that has a batch; a day without one is left out.

    Raises:
        DeliveryError: no day has a batch, or a batch cannot be taken; raw_events is as it was then.
        LandingError: Spark has failed to write them.
        ClosedDayError: a day has expired; nothing is changed then (R21).
        ZoneError: Java does not know the zone of the settings.
        LakeError: a file changed while it was read, or another run landed the day; landing it again mends it.
    """
    plan = plan_land(lake, landing, days, lateness_days)
    return commit(spark, lake, plan, compute(spark, landing, plan))


def plan_land(lake: Lake, landing: Landing, days: Sequence[date], lateness_days: int) -> LandPlan:
    """Find the batches of these days, and those that need not be landed again; nothing is written.

    Raises:
        DeliveryError: no day has a batch, or a batch cannot be taken by its name or folder.
        ClosedDayError: a day has expired (R21).
    """
    batches = landing.find(days)
    if not batches:
        raise DeliveryError(landing.missing(days[0]))
    entries = lake.ledger.open_entries(batches)
    raw_events, raw_quarantine = lake.find(RAW_EVENTS), lake.find(RAW_QUARANTINE)
    same = {
        day: entry
        for day, entry in entries.items()
        if is_judged(entry, lateness_days, landing.input_format) and entry.fingerprint == batches[day].fingerprint
    }
    unchanged = _unchanged(batches, same, raw_events, raw_quarantine)
    fresh = {day: batch for day, batch in batches.items() if day not in unchanged}
    return LandPlan(unchanged, fresh, entries, lateness_days, landing.input_format, raw_events, raw_quarantine)


def _unchanged(
    batches: Mapping[date, Delivery],
    same: Mapping[date, Entry],
    raw_events: Snapshot | None,
    raw_quarantine: Snapshot | None,
) -> dict[date, Delivery]:
    """Return those of the same batches, judged in the same way, whose rows the raw tables hold."""
    accepted, refused = count_rows(raw_events, same), count_rows(raw_quarantine, same)
    whole = [day for day, e in same.items() if (accepted[day], refused[day]) == (e.rows_accepted, e.rows_quarantined)]
    if whole:
        LOGGER.info("landed already: %s", ", ".join(batches[day].source for day in whole))
    return {day: batches[day] for day in whole}


def is_judged(entry: Entry, lateness_days: int, input_format: InputFormat) -> bool:
    """Return whether a day has landed whole, under these settings, by this code."""
    judged_by = (entry.lateness_days, entry.input_format, entry.code)
    return entry.landed_at is not None and judged_by == (lateness_days, input_format.as_json(), code_version())


def compute(spark: SparkSession, landing: Landing, plan: LandPlan) -> DataFrame | None:
    """Return the rows of the fresh batches, typed and judged, not yet counted; None if no batch is fresh.

    Raises:
        DeliveryError: a batch cannot be taken.
    """
    return read_batches(spark, landing, plan.fresh, plan.lateness_days) if plan.fresh else None


def read_batches(
    spark: SparkSession, landing: Landing, batches: Mapping[date, Delivery], lateness_days: int
) -> DataFrame:
    """Return the rows of one or more batches, typed and judged as `rule.events.typed` returns them.

    Raises:
        DeliveryError: a batch cannot be taken.
        ZoneError: Java does not know the zone of the settings.
    """
    check_zone(spark, landing.input_format.time_zone)
    return typed(read_rows(spark, landing, list(batches.values())), lateness_days, landing.input_format)


def commit(spark: SparkSession, lake: Lake, plan: LandPlan, rows: DataFrame | None) -> dict[date, LandedDay]:
    """Write the rows of the fresh batches and note in the ledger that they have landed; count all batches.

    Raises:
        ClosedDayError: a day has expired since the plan; nothing is changed then (R21).
        DeliveryError: a file cannot be read.
        LandingError: Spark has failed otherwise. Of either kind, while raw_events is written: it and the ledger are as
            they were then.
        LakeError: a file changed while it was read, or another run lands one of these days.
    """
    if rows is None:
        return _landed_days(plan, plan.raw_events, plan.raw_quarantine, {})
    known = lake.ledger.begin([plan.begun(day) for day in plan.fresh])
    files = [file for batch in plan.fresh.values() for file in batch.files]
    with _writing(files):
        try:
            numbers = _write_events(spark, lake, plan, rows)
        except Exception:
            # An interruption is no such failure: Spark may still be writing then.
            _take_back(lake, plan, known)
            raise
        _write_quarantine(spark, lake, plan, rows, numbers.refused)
    landed = _landed_days(plan, lake.find(RAW_EVENTS), lake.find(RAW_QUARANTINE), numbers.odd_times)
    fresh = {day: landed[day] for day in plan.fresh}
    _check_kept(fresh, numbers)
    lake.ledger.record([plan.ended(day, of_day) for day, of_day in fresh.items()])
    return landed


@contextmanager
def _writing(files: Sequence[str]) -> Iterator[None]:
    """Raise one sentence when Spark fails."""
    try:
        with reading(files):
            yield
    except (PySparkException, Py4JError) as error:
        causes = re.findall(r"^Caused by: (.*)$", str(error), re.MULTILINE) or str(error).strip().splitlines()[:1]
        raise LandingError(f"{named(files)} cannot be landed: {causes[-1] if causes else type(error)}") from error


def _take_back(lake: Lake, plan: LandPlan, known: Mapping[date, Entry]) -> None:
    """Restore what the ledger noted of these days, if raw_events is as it was: then it still holds."""
    found = lake.find(RAW_EVENTS)
    # Created by the landing, it has version 0 and no row.
    if found is None or found.version == (plan.raw_events.version if plan.raw_events else 0):
        lake.ledger.take_back(plan.fresh, known)


@dataclass(frozen=True)
class _Numbers:
    """What was counted while rows were written: all, the refused ones, and by day and kind those with odd times."""

    delivered: int
    refused: int
    odd_times: Mapping[tuple[date, str], int]


def _write_events(spark: SparkSession, lake: Lake, plan: LandPlan, rows: DataFrame) -> _Numbers:
    """Write the accepted rows, and count all of them."""
    if plan.raw_events is None:
        create(spark, lake, RAW_EVENTS)
    # Counted while they are written, so that a batch is read once, unless something in it is refused.
    is_refused = F.col("reason").isNotNull()
    observation = Observation()
    zone, lateness = plan.input_format.time_zone, plan.lateness_days
    odd_times = counts_of_odd_times(spark, zone, plan.fresh, lateness) if "local_time" in rows.columns else {}
    observed = rows.observe(
        observation,
        F.count("*").alias("delivered"),
        F.count_if(is_refused).alias("refused"),
        *[count.alias(f"{day} {kind}") for (day, kind), count in odd_times.items()],
    )
    is_new = not any(count_rows(plan.raw_events, plan.fresh).values())
    with phase("write raw_events") as note:
        if is_new:
            raw.append_rows(lake, RAW_EVENTS, observed.where(~is_refused))
        else:
            raw.replace_days(lake, RAW_EVENTS, plan.fresh, observed.where(~is_refused))
        numbers = observation.get
        note(f"{', '.join(batch.source for batch in plan.fresh.values())}: {numbers['delivered']} rows")
    counted = {(day, kind): numbers[f"{day} {kind}"] for day, kind in odd_times}
    return _Numbers(numbers["delivered"], numbers["refused"], counted)


def _write_quarantine(spark: SparkSession, lake: Lake, plan: LandPlan, rows: DataFrame, refused: int) -> None:
    """Write the refused rows, unless there are none and none were there before."""
    if plan.raw_quarantine is None:
        create(spark, lake, RAW_QUARANTINE)
    if refused or any(count_rows(plan.raw_quarantine, plan.fresh).values()):
        with phase("write raw_quarantine") as note:
            raw.replace_days(lake, RAW_QUARANTINE, plan.fresh, _quarantined(rows))
            note(f"{refused} rows")


def _quarantined(rows: DataFrame) -> DataFrame:
    """Return the refused rows; what was taken out of a row that could not be parsed is no value of it."""
    values = (*IDENTITY_COLUMNS, "timestamp_text", "attributes")
    parsed = {name: F.when(~F.col("reason").isin(*PARSE_ERRORS), F.col(name)) for name in values}
    return rows.where(F.col("reason").isNotNull()).withColumns(parsed)


def _landed_days(
    plan: LandPlan,
    raw_events: Snapshot | None,
    raw_quarantine: Snapshot | None,
    odd_times: Mapping[tuple[date, str], int],
) -> dict[date, LandedDay]:
    """Count what the tables hold of each day: events by how late they are, refused rows by their reason."""
    batches = {**plan.unchanged, **plan.fresh}
    names = {day: plan.known[day].attribute_names or () for day in plan.unchanged}
    names |= attribute_names(raw_events, plan.fresh) if raw_events and plan.fresh else {}
    accepted = _count_by(raw_events, batches, DAYS_LATE)
    refused = _count_by(raw_quarantine, batches, "reason")
    none = None if plan.input_format.time_zone == UTC_ZONE else 0
    odd = {day: [odd_times.get((day, kind), none) for kind in KINDS] for day in plan.fresh}
    odd |= {day: [plan.known[day].ambiguous_times, plan.known[day].missing_times] for day in plan.unchanged}
    return {
        day: LandedDay(batches[day].source, names[day], refused[day], accepted[day], *odd[day])
        for day in sorted(batches)
    }


def _count_by(table: Snapshot | None, days: Collection[date], kind: str) -> dict[date, dict[Any, int]]:
    counts: dict[date, dict[Any, int]] = {day: {} for day in days}
    for day, value, rows in count_days(table, days, kind):
        counts[day][value] = rows
    return counts


def _check_kept(landed: Mapping[date, LandedDay], numbers: _Numbers) -> None:
    """Make sure that what the tables hold is what was delivered."""
    delivered, refused = numbers.delivered, numbers.refused
    accepted = sum(day.rows_accepted for day in landed.values())
    quarantined = sum(day.rows_quarantined for day in landed.values())
    if (accepted + refused, quarantined) != (delivered, refused):
        raise LakeError(
            f"{', '.join(day.source for day in landed.values())}: {delivered} rows were delivered and {refused} of "
            f"them refused, but {accepted} events and {quarantined} refused rows were kept: has a file changed, or has "
            "another run landed it meanwhile? Materialize it again"
        )
