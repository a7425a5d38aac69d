"""The sensor: the runs that a tick requests, on real landings and ledgers, without Spark."""

import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from sessions_assets.dagster.internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sessions_assets.dagster.resources import build_resources
from sessions_assets.definitions import build_definitions
from sessions_assets.lake.ledger import Entry, Ledger
from sessions_assets.landing.batches import Landing
from sessions_assets.settings import Settings
from sessions_assets_tests.processes import python
from sessions_assets_tests.tables import DAY_0, day

LANDED_AT = datetime(2025, 3, 10, 12, tzinfo=UTC)


def days_of(request: dg.RunRequest) -> str:
    ends = (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
    return request.partition_key or "...".join(request.tags[end] for end in ends)


class Operator:
    """A landing and a ledger, and a sensor that is evaluated tick by tick."""

    def __init__(self, folder: Path, first_day: date = DAY_0) -> None:
        self.landing, self.ledger = folder / "landing", Ledger(str(folder / "lake" / "deliveries"))
        self.landing.mkdir()
        settings = Settings(landing=str(self.landing), lake=str(folder / "lake"), first_day=first_day)
        self.definitions, self.resources = build_definitions(settings), build_resources(settings)
        self.instance = dg.DagsterInstance.ephemeral(tempdir=str(folder))
        self.cursor: str | None = None
        self.skip_message = ""

    def put(self, name: str, text: str = "user_id\n") -> None:
        """Put a file into the landing."""
        path = self.landing / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def tick(self) -> list[str]:
        """Evaluate one tick; return the days of each requested run."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=self.definitions, resources=self.resources
        )
        data = self.definitions.resolve_sensor_def("new_batches").evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        self.skip_message = data.skip_message or ""
        self.keys = [request.run_key for request in data.run_requests or []]
        return [days_of(request) for request in data.run_requests or []]

    def requests(self) -> list[str]:
        """Evaluate two ticks: a batch is taken when it is unchanged between them."""
        assert self.tick() == []
        return self.tick()

    def applied(self, *days: date) -> None:
        """Record these days as applied in the state they now have in the landing."""
        found = Landing(str(self.landing)).find(days)
        self.ledger.record([Entry(d, b.source, b.fingerprint, 1, 1, 0, LANDED_AT, LANDED_AT) for d, b in found.items()])


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def test_days_that_follow_each_other_are_one_run(operator: Operator) -> None:
    for number in (0, 1, 2, 5):
        operator.put(f"{day(number)}.csv")
    assert operator.requests() == ["2025-03-10...2025-03-12", "2025-03-15"]


def test_the_same_batch_is_requested_once(operator: Operator) -> None:
    """Also after the cursor was lost: the run key is the same."""
    operator.put(f"{day(0)}.csv")
    assert operator.requests() == ["2025-03-10"]
    keys = operator.keys
    assert [operator.tick(), operator.tick()] == [[], []]
    operator.cursor = None
    assert operator.requests() == ["2025-03-10"]
    assert operator.keys == keys


def test_an_applied_batch_is_not_requested_and_a_changed_one_is(operator: Operator) -> None:
    operator.put(f"{day(0)}.csv")
    operator.put(f"{day(1)}.csv")
    operator.applied(day(0), day(1))
    assert operator.requests() == []
    operator.put(f"{day(1)}.csv", "changed\n")
    assert operator.requests() == ["2025-03-11"]


def test_a_batch_that_landed_and_was_not_applied_is_requested(operator: Operator) -> None:
    operator.put(f"{day(0)}.csv")
    operator.applied(day(0))
    operator.ledger.record([replace(operator.ledger.entries()[day(0)], applied_at=None)])
    assert operator.requests() == ["2025-03-10"]


def test_a_failed_batch_is_tried_again_when_it_changes(operator: Operator) -> None:
    operator.put(f"{day(0)}.csv")
    assert operator.requests() == ["2025-03-10"]
    assert operator.tick() == []
    operator.put(f"{day(0)}.csv", "mended\n")
    assert operator.requests() == ["2025-03-10"]


def test_an_old_batch_that_is_put_back_is_requested_again(operator: Operator) -> None:
    """Its fingerprint may be the one it had before: what has landed since gives the run another key."""
    operator.put(f"{day(0)}.csv")
    assert operator.requests() == ["2025-03-10"]
    first = operator.keys
    operator.applied(day(0))
    assert operator.tick() == []
    entry = operator.ledger.entries()[day(0)]
    operator.ledger.record([replace(entry, fingerprint="another", landed_at=LANDED_AT + timedelta(hours=1))])
    assert operator.requests() == ["2025-03-10"]
    assert operator.keys != first


def test_a_file_that_grows_is_waited_for(operator: Operator) -> None:
    for length in range(1, 4):
        operator.put(f"{day(0)}.csv", "x" * length)
        assert operator.tick() == []
    assert operator.tick() == ["2025-03-10"]


def test_a_deleted_file_is_forgotten(operator: Operator) -> None:
    operator.put(f"{day(0)}.csv")
    assert operator.tick() == []
    (operator.landing / f"{day(0)}.csv").unlink()
    assert operator.tick() == []
    operator.put(f"{day(0)}.csv")
    assert operator.requests() == ["2025-03-10"]


def test_names_that_are_no_batch_and_days_without_a_partition_are_ignored(operator: Operator) -> None:
    today = datetime.now(UTC).date()
    for name in ("2025-03-09.csv", "2025-03-10.csv.tmp", ".2025-03-10.csv", "notes.txt", f"{today + timedelta(1)}.csv"):
        operator.put(name)
    assert operator.requests() == []
    operator.put(f"{today}.csv")
    assert operator.requests() == [today.isoformat()]


def test_a_day_with_two_batches_does_not_stop_the_others(operator: Operator) -> None:
    operator.put("2025-03-10.csv")
    operator.put("2025-03-10.jsonl")
    operator.put("2025-03-12/part-0.csv")
    assert operator.requests() == ["2025-03-12"]


def test_a_closed_day_is_not_requested(operator: Operator) -> None:
    """Its run would be refused (R21)."""
    operator.put(f"{day(0)}.csv")
    operator.applied(day(0))
    entry = operator.ledger.entries()[day(0)]
    operator.ledger.record([replace(entry, expired_at=LANDED_AT)])
    operator.put(f"{day(0)}.csv", "changed\n")
    assert operator.requests() == []


def test_a_missing_landing_is_the_reason_to_skip(operator: Operator) -> None:
    operator.landing.rmdir()
    assert operator.tick() == []
    assert "does not exist: expected a folder with batches" in operator.skip_message


def test_a_tick_over_a_thousand_days_is_quick_and_starts_no_jvm(tmp_path: Path) -> None:
    """In its own process, where no JVM runs yet; the first tick is not timed, since it pays for the imports."""
    program = """
import time
from pathlib import Path
from sessions_assets_tests.test_sensors import Operator, day
import pyspark
operator = Operator(Path.cwd(), day(-400))
for number in range(1000):
    operator.put(f"{day(number - 400)}.csv")
operator.applied(*[day(number) for number in range(-400, 590)])
operator.tick()
assert operator.tick() == ["2026-10-21...2026-10-30"]
times = []
for _ in range(5):
    started = time.monotonic()
    asked = operator.tick()
    times.append(time.monotonic() - started)
assert pyspark.SparkContext._gateway is None
assert asked == []
print(sorted(times)[2])
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    printed = python("-c", program, cwd=tmp_path, environment=environment)
    assert float(printed) < 1
