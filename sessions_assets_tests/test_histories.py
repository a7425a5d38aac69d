"""Theorem S18 on real Delta tables: hundreds of random histories, packed into few runs, agree with the plain model.

The model is compared with the rule in its own tests; here once more at the end. Beside the rows, the number of rows
written must agree: a run that writes what did not change gives the right table too (S19).
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest

from sessions_assets.applications import apply
from sessions_assets.deliveries import land
from sessions_assets.lake import Lake
from sessions_assets.landing import Landing
from sessions_assets.sessions import SessionRule
from sessions_assets.tables import ODS_SESSIONS
from sessions_assets_tests.histories import (
    LATENESS_DAYS,
    TIMEOUTS,
    USER_ACTIONS,
    Apply,
    Step,
    pack,
    random_applies,
    random_history,
)
from sessions_assets_tests.incremental_model import IncrementalModel
from sessions_assets_tests.reference import Event, Row, expected_table, session_id
from sessions_assets_tests.tables import stored_rows, write_batches


class Comparison:
    """One lake and one model that see the same packed histories."""

    def __init__(self, lake: Lake, landing: Path, timeout: timedelta) -> None:
        self.lake, self.landing, self.rule = lake, landing, SessionRule(timeout, USER_ACTIONS)
        self.model = IncrementalModel(timeout, USER_ACTIONS)

    def land(self, delivered: dict[date, list[Event]]) -> None:
        """Let the same batches arrive on both sides, in one run."""
        write_batches(self.landing, delivered)
        land(self.lake, Landing(str(self.landing)), list(delivered), LATENESS_DAYS)
        for day, events in delivered.items():
            self.model.land(day, events)

    def apply(self, days: tuple[date, ...]) -> None:
        """Apply these days on both sides: as many rows are written, and the same stand afterwards."""
        written = sum(apply(self.lake, list(days), self.rule).rows.values())
        assert written == self.model.apply(days), days
        assert stored_rows(self.lake) == sorted(self.rows_of_the_model()), days

    def rows_of_the_model(self) -> Iterator[Row]:
        """Give what the model stores, in the columns of the table."""
        for event, row in self.model.ods.items():
            session = row.session_start and session_id(event.user_id, event.product_code, row.session_start)
            yield Row(
                *event, self.model.is_action(event), session, row.session_start, row.first_updated_at,
                event.timestamp.date(),
            )  # fmt: skip

    def rows_of_the_rule(self) -> list[Row]:
        """Give what the rule says of all current deliveries."""
        by_key: dict[tuple[str, str], dict[date, list[Event]]] = {}
        for day, events in self.model.raw.items():
            for event in events:
                by_key.setdefault((event.user_id, event.product_code), {}).setdefault(day, []).append(event)
        return sorted(row for held in by_key.values() for row in expected_table(held, self.rule.timeout, USER_ACTIONS))


Applies = Callable[[Random, Iterable[date]], Iterable[Step]]


def in_halves(rng: Random, days: Iterable[date]) -> list[Step]:
    """Apply the days in two runs: quick, and still in any order."""
    listed = sorted(days)
    rng.shuffle(listed)
    return [Apply(tuple(some)) for some in (listed[::2], listed[1::2]) if some]


def play(comparison: Comparison, rng: Random, histories: int, applies: Applies) -> None:
    """Late, twice, out of order, re-delivered and corrected (S17, S18, S19)."""
    packed = pack([random_history(rng, comparison.rule.timeout, rounds=2) for _ in range(histories)])
    for delivered in packed:
        comparison.land(delivered)
        for step in applies(rng, delivered):
            assert isinstance(step, Apply)
            comparison.apply(step.days)
    assert stored_rows(comparison.lake) == comparison.rows_of_the_rule()
    version = comparison.lake.version(ODS_SESSIONS)
    comparison.apply(tuple(comparison.model.raw))
    assert comparison.lake.version(ODS_SESSIONS) == version


def test_packed_histories_agree_with_the_model(lake: Lake, tmp_path: Path) -> None:
    rng = Random(20250310)  # noqa: S311 - repeatable, not secret
    play(Comparison(lake, tmp_path / "landing", timedelta(seconds=300)), rng, 150, in_halves)


@pytest.mark.long
@pytest.mark.parametrize("timeout", TIMEOUTS, ids=str)
def test_many_packed_histories_agree_with_the_model(
    timeout: timedelta, seed: int, number_of_histories: int, lake: Lake, tmp_path: Path
) -> None:
    """In single days and ranges; chains of actions that outlast the window among them; other ones each time."""
    rng = Random(seed)  # noqa: S311 - the report names the seed
    play(Comparison(lake, tmp_path / "landing", timeout), rng, number_of_histories // 50, random_applies)
