"""The sensor on the landing: which batches are new or delivered again, and the runs that take them.

Must not know how a batch is read or applied, SQL, Spark settings or credentials. Starts no JVM.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Self

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from sessions_assets.dagster.assets import arrival_days
from sessions_assets.dagster.resources import LakeResource, LandingResource
from sessions_assets.lake.ledger import Entry
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.landing.batches import DeliveryError
from sessions_assets.settings import Settings

Fingerprints = dict[date, str]


@dataclass(frozen=True)
class Memory:
    """What a tick remembers for the next one, of days that wait: the sensor's cursor.

    Attributes:
        seen: the batches as the last tick saw them; one that has changed since may still be growing.
        asked: the batches for which a run was asked for; one that failed is asked for again when it changes.
    """

    seen: Fingerprints = field(default_factory=dict)
    asked: Fingerprints = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None) -> Self:
        """Read a cursor; none is an empty memory."""
        parts = json.loads(cursor or "{}")
        return cls(**{name: {date.fromisoformat(day): mark for day, mark in parts[name].items()} for name in parts})

    def written(self) -> str:
        """Write the cursor."""
        parts = dataclasses.asdict(self)
        return json.dumps({name: {day.isoformat(): mark for day, mark in parts[name].items()} for name in parts})


def not_applied(found: Fingerprints, ledger: Mapping[date, Entry]) -> Fingerprints:
    """Leave out the batches that ods_sessions has applied as they lie there."""
    return {
        day: mark
        for day, mark in found.items()
        if day not in ledger or ledger[day].fingerprint != mark or not ledger[day].applied_at
    }


def decide(waiting: Fingerprints, memory: Memory) -> tuple[Fingerprints, Memory]:
    """Choose the batches to ask for now, and what to remember."""
    settled = {day: mark for day, mark in waiting.items() if memory.seen.get(day) == mark}
    wanted = {day: mark for day, mark in settled.items() if memory.asked.get(day) != mark}
    asked = {day: mark for day, mark in (memory.asked | wanted).items() if day in waiting}
    return wanted, Memory(waiting, asked)


def spans(days: Iterable[date]) -> Iterator[list[date]]:
    """Put days that follow each other together."""
    span: list[date] = []
    for day in sorted(days):
        if span and day - span[-1] > timedelta(days=1):
            yield span
            span = []
        span.append(day)
    if span:
        yield span


def run_request(span: list[date], marks: Fingerprints, ledger: Mapping[date, Entry]) -> dg.RunRequest:
    """Ask for one run of both assets over a span of days.

    Dagster never starts a second run of the same key. The same batches give the same key, unless something else has
    landed since: then an old batch that is put back is work again.
    """
    first, last = span[0].isoformat(), span[-1].isoformat()
    batches = " ".join(f"{marks[day]} {ledger[day].landed_at if day in ledger else 'new'}" for day in span)
    key = f"{first}...{last} {hashlib.sha256(batches.encode()).hexdigest()[:16]}"
    if first == last:
        return dg.RunRequest(run_key=key, partition_key=first)
    return dg.RunRequest(
        run_key=key, tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    )


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Make the sensor for the days from the first one of the settings to today."""
    partitions = arrival_days(settings)

    @dg.sensor(
        name="new_batches",
        target=dg.AssetSelection.assets(RAW_EVENTS.name, ODS_SESSIONS.name),
        minimum_interval_seconds=30,
    )
    def new_batches(
        context: dg.SensorEvaluationContext, landing: LandingResource, lake: LakeResource
    ) -> dg.SensorResult | dg.SkipReason:
        """Starts a run for each batch that is new or delivered again, days that follow each other in one run.

        A batch is taken when it looks the same in two looks, half a minute apart.
        """
        ledger = lake.open().ledger
        entries = ledger.entries()
        days = {date.fromisoformat(key) for key in partitions.get_partition_keys()}
        try:
            found, problems = landing.open().look(days - ledger.closed())
        except DeliveryError as error:
            return dg.SkipReason(str(error))
        for problem in problems.values():
            context.log.warning(str(problem))
        waiting = not_applied({day: delivery.fingerprint for day, delivery in found.items()}, entries)
        wanted, memory = decide(waiting, Memory.read(context.cursor))
        return dg.SensorResult(
            run_requests=[run_request(span, wanted, entries) for span in spans(wanted)], cursor=memory.written()
        )

    return [new_batches]
