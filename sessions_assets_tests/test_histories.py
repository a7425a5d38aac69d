"""R18 on real Delta tables: hundreds of random histories, packed into few runs, give the same rows as the model.

The tests of the model compare it with the rule; here the table is compared with the rule once more at the end. The
number of rows written must agree as well: rewriting unchanged rows would give the right table too (R19).
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest

from sessions_assets.lake.ledger import ClosedDayError, closed_days
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.inspections import inspect, inspect_all
from sessions_assets.pipeline.land import land
from sessions_assets.rule.events import IDENTITY_COLUMNS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.histories import (
    LATENESS_DAYS,
    NONE,
    TIMEOUTS,
    TIMEOUTS_BY_PRODUCT,
    USER_ACTIONS,
    Apply,
    Step,
    pack,
    random_applies,
    random_history,
)
from sessions_assets_tests.incremental_model import IncrementalModel
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event, Row, Timeouts, expected_table, session_id
from sessions_assets_tests.tables import stored_rows, write_batches

CARRIED = ("since", "carried")
"""The names of the attributes: such as the code uses itself."""
_WITH_VALUES = (*IDENTITY_COLUMNS, *CARRIED)


class Comparison:
    """One lake and one model with the same packed histories."""

    def __init__(
        self,
        lake: Lake,
        landing: Path,
        timeout: timedelta,
        retention: timedelta = timedelta.max,
        timeouts: Timeouts = NONE,
    ) -> None:
        self.lake, self.landing = lake, landing
        self.rule = SessionRule(timeout, USER_ACTIONS, timeouts, CARRIED)
        self.model = IncrementalModel(timeout, USER_ACTIONS, retention, timeouts)
        self.accepted: dict[date, list[Event]] = {}

    def land(self, batches: dict[date, list[Event]]) -> None:
        """Land the same batches in the lake and the model, in one run; those of closed days are refused (R21)."""
        delivered = {day: events for day, events in batches.items() if not self.model.is_closed(day)}
        if closed := batches.keys() - delivered.keys():
            with pytest.raises(ClosedDayError):
                self.lake.ledger.open_entries(closed)
        if not delivered:
            return
        self.accepted |= delivered
        write_batches(self.landing, delivered, CARRIED)
        land(self.lake.spark, self.lake, Landing(str(self.landing)), list(delivered), LATENESS_DAYS)
        for day, events in delivered.items():
            self.model.land(day, events)

    def apply(self, days: tuple[date, ...]) -> None:
        """Apply these days in both: the same number of rows is written, and the tables are equal afterwards."""
        written = sum(apply(self.lake.spark, self.lake, list(days), self.rule).rows.values())
        assert written == self.model.apply(days), days
        assert stored_rows(self.lake) == sorted(self.rows_of_the_model()), days
        stored = {Event(*row[:4]): row[4:] for row in self.lake.rows(ODS_SESSIONS, ", ".join(_WITH_VALUES))}
        assert stored == {event: row.values for event, row in self.model.ods.items()}, days

    def maintain(self) -> None:
        """Expire and compact; the same days are closed in both, and the rows do not change."""
        maintain.expire(self.lake.spark, self.lake, self.model.retention)
        maintain.compact(self.lake.spark, self.lake, LATENESS_DAYS)
        self.model.expire()
        assert closed_days(self.lake.ledger.entries()) == {
            day for day in self.model.delivered if self.model.is_closed(day)
        }
        held = {day for day, rows in self.lake.count_rows(RAW_EVENTS, self.model.delivered).items() if rows}
        assert held == {day for day, events in self.model.raw.items() if events}
        if applied := [day for day, entry in self.lake.ledger.entries().items() if entry.applied_at]:
            assert not any(found.broken for found in inspect(self.lake.spark, self.lake, applied, self.rule).values())
        assert stored_rows(self.lake) == sorted(self.rows_of_the_model())

    def inspect(self) -> None:
        """The checks find nothing wrong after the runs: in the whole table, and on each day."""
        assert inspect_all(self.lake.spark, self.lake, self.rule).broken == {}
        found = inspect(self.lake.spark, self.lake, sorted(self.accepted), self.rule)
        assert {day: inspection.broken for day, inspection in found.items() if inspection.broken} == {}

    def rows_of_the_model(self) -> Iterator[Row]:
        """Return what the model stores, in the columns of the table."""
        for event, row in self.model.ods.items():
            session = row.session_start and session_id(event.user_id, event.product_code, row.session_start)
            yield Row(
                *event, self.model.is_action(event), session, row.session_start, row.first_updated_at,
                event.timestamp.date(),
            )  # fmt: skip

    def rows_of_the_rule(self) -> list[Row]:
        """Return the rows that the reference computes from all current deliveries."""
        by_key: dict[tuple[str, str], dict[date, list[Event]]] = {}
        for day, events in self.accepted.items():
            for event in events:
                by_key.setdefault((event.user_id, event.product_code), {}).setdefault(day, []).append(event)
        rule = self.rule
        tables = [expected_table(held, rule.timeout, USER_ACTIONS, rule.timeouts) for held in by_key.values()]
        return sorted(row for table in tables for row in table)


Applies = Callable[[Random, Iterable[date]], Iterable[Step]]


def in_halves(rng: Random, days: Iterable[date]) -> list[Step]:
    """Apply the days in two runs, in any order: few runs, so it is quick."""
    listed = sorted(days)
    rng.shuffle(listed)
    return [Apply(tuple(some)) for some in (listed[::2], listed[1::2]) if some]


def one_by_one(rng: Random, days: Iterable[date]) -> list[Step]:
    """Apply each day in a run of its own, so that some days are pending most of the time."""
    return [Apply((day,)) for day in rng.sample(sorted(days), len(list(days)))]


def play(comparison: Comparison, rng: Random, histories: int, applies: Applies) -> None:
    """Play histories of late, repeated, out-of-order, re-delivered and corrected batches (R17, R18, R19)."""
    rule = comparison.rule
    packed = pack([random_history(rng, rule.timeout, rounds=2, timeouts=rule.timeouts) for _ in range(histories)])
    for delivered in packed:
        comparison.land(delivered)
        for step in applies(rng, [day for day in delivered if day in comparison.model.pending]):
            assert isinstance(step, Apply)
            comparison.apply(step.days)
            if comparison.model.retention < timedelta.max:
                comparison.maintain()
    assert stored_rows(comparison.lake) == comparison.rows_of_the_rule()
    comparison.inspect()
    version = comparison.lake.version(ODS_SESSIONS)
    comparison.apply(tuple(day for day in comparison.model.raw if not comparison.model.is_closed(day)))
    assert comparison.lake.version(ODS_SESSIONS) == version


@pytest.mark.long
def test_packed_histories_agree_with_the_model(lake: Lake, tmp_path: Path) -> None:
    rng = Random(20250310)  # noqa: S311 - repeatable, not secret
    comparison = Comparison(lake, tmp_path / "landing", timedelta(seconds=300), timeouts=TIMEOUTS_BY_PRODUCT[2])
    play(comparison, rng, 150, in_halves)


@pytest.mark.long
@pytest.mark.parametrize("number", range(len(TIMEOUTS)), ids=map(str, TIMEOUTS))
def test_many_packed_histories_agree_with_the_model(
    number: int, seed: int, number_of_histories: int, lake: Lake, tmp_path: Path
) -> None:
    """By single days and ranges; with sessions longer than the lateness window; from another seed each time."""
    rng = Random(seed)  # noqa: S311 - the report names the seed
    comparison = Comparison(lake, tmp_path / "landing", TIMEOUTS[number], timeouts=TIMEOUTS_BY_PRODUCT[number])
    play(comparison, rng, number_of_histories // 50, random_applies)


@pytest.mark.long
def test_expiry_and_compaction_between_the_runs_change_nothing(
    seed: int, number_of_histories: int, lake: Lake, tmp_path: Path
) -> None:
    """Raw days expire after a day or two, dates are compacted, old days arrive late: the table stays right (R21)."""
    rng = Random(seed)  # noqa: S311 - the report names the seed
    comparison = Comparison(lake, tmp_path / "landing", timedelta(hours=6), retention=timedelta(days=2))
    play(comparison, rng, number_of_histories // 100, one_by_one)
    assert closed_days(lake.ledger.entries())
