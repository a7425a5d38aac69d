"""The sensor on the landing: which batches are new or delivered again, and the runs it requests for them.

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

from sessions_assets.dagster.assets import arrival_days
from sessions_assets.dagster.internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sessions_assets.dagster.resources import LakeResource, LandingResource
from sessions_assets.lake.ledger import Entry, closed_days
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, SESSIONS
from sessions_assets.landing.batches import DeliveryError
from sessions_assets.pipeline.audit import not_applied
from sessions_assets.settings import Settings

Fingerprints = dict[date, str]


@dataclass(frozen=True)
class Cursor:
    """What a tick of the sensor keeps for the next one: the fingerprints of batches that are not applied.

    Attributes:
        seen: the batches as the last tick saw them; one that has changed since may still be growing.
        asked: the batches for which a run was requested; one that failed is requested again when it changes.
    """

    seen: Fingerprints = field(default_factory=dict)
    asked: Fingerprints = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """Read a cursor; without a text it is empty."""
        parts = json.loads(text or "{}")
        return cls(
            **{
                name: {date.fromisoformat(day): fingerprint for day, fingerprint in parts[name].items()}
                for name in parts
            }
        )

    def to_json(self) -> str:
        """Return the cursor as text."""
        parts = dataclasses.asdict(self)
        return json.dumps(
            {name: {day.isoformat(): fingerprint for day, fingerprint in parts[name].items()} for name in parts}
        )


def decide(waiting: Fingerprints, cursor: Cursor) -> tuple[Fingerprints, Cursor]:
    """Return the batches for which a run is requested now, and the next cursor."""
    unchanged = {day: fingerprint for day, fingerprint in waiting.items() if cursor.seen.get(day) == fingerprint}
    wanted = {day: fingerprint for day, fingerprint in unchanged.items() if cursor.asked.get(day) != fingerprint}
    asked = {day: fingerprint for day, fingerprint in (cursor.asked | wanted).items() if day in waiting}
    return wanted, Cursor(waiting, asked)


def spans(days: Iterable[date]) -> Iterator[list[date]]:
    """Yield the runs of consecutive days."""
    span: list[date] = []
    for day in sorted(days):
        if span and day - span[-1] > timedelta(days=1):
            yield span
            span = []
        span.append(day)
    if span:
        yield span


def run_request(span: list[date], fingerprints: Fingerprints, ledger: Mapping[date, Entry]) -> dg.RunRequest:
    """Return the request for one run of the assets over a span of days.

    Dagster never starts a second run with the same run key. The same batches give the same key, unless something else
    has landed since: then an old batch that is put back is requested again.
    """
    first, last = span[0].isoformat(), span[-1].isoformat()
    batches = " ".join(f"{fingerprints[day]} {ledger[day].landed_at if day in ledger else 'new'}" for day in span)
    key = f"{first}...{last} {hashlib.sha256(batches.encode()).hexdigest()[:16]}"
    if first == last:
        return dg.RunRequest(run_key=key, partition_key=first)
    return dg.RunRequest(
        run_key=key, tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    )


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Return the sensor, for the days from the first one of the settings to today."""
    partitions = arrival_days(settings)

    @dg.sensor(
        name="new_batches",
        target=dg.AssetSelection.assets(RAW_EVENTS.name, ODS_SESSIONS.name, SESSIONS.name),
        minimum_interval_seconds=30,
    )
    def new_batches(
        context: dg.SensorEvaluationContext, landing: LandingResource, lake: LakeResource
    ) -> dg.SensorResult | dg.SkipReason:
        """Starts a run for each batch that is new or delivered again; consecutive days share one run.

        A batch is taken when it is unchanged between two ticks, half a minute apart.
        """
        ledger = lake.open().ledger
        entries = ledger.entries()
        days = {date.fromisoformat(key) for key in partitions.get_partition_keys()}
        try:
            found, problems = landing.open().look(days - closed_days(entries))
        except DeliveryError as error:
            return dg.SkipReason(str(error))
        for problem in problems.values():
            context.log.warning(str(problem))
        waiting = not_applied({day: delivery.fingerprint for day, delivery in found.items()}, entries)
        wanted, cursor = decide(waiting, Cursor.from_json(context.cursor))
        return dg.SensorResult(
            run_requests=[run_request(span, wanted, entries) for span in spans(wanted)], cursor=cursor.to_json()
        )

    return [new_batches]
