"""Theorem S18 on real Delta tables: hundreds of random histories, packed into few runs, end in the rule."""

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
    CALENDAR,
    LATENESS_DAYS,
    Deliveries,
    Rounds,
    pack,
    random_history,
    with_user_prefix,
)
from sessions_assets_tests.reference import Row, expected_table
from sessions_assets_tests.tables import stored_rows, write_batches

ACTIONS = frozenset("abc")
HISTORIES = 150


def expected_rows(histories: list[Rounds], until: int, timeout: timedelta) -> list[Row]:
    """Apply the reference to each history alone, after this many of its rounds."""
    rows: list[Row] = []
    for number, rounds in enumerate(histories):
        current: Deliveries = {}
        for delivered in with_user_prefix(rounds, f"h{number}-")[:until]:
            current |= delivered
        rows += expected_table(current, timeout, ACTIONS)
    return sorted(rows)


def rerun_writes_nothing(lake: Lake, days: list[date], rule: SessionRule) -> bool:
    version = lake.version(ODS_SESSIONS)
    apply(lake, days, rule)
    return lake.version(ODS_SESSIONS) == version


@pytest.mark.parametrize("timeout", [timedelta(seconds=300), timedelta(hours=30)], ids=["minutes", "over a day"])
def test_packed_histories_end_in_the_rule(timeout: timedelta, lake: Lake, tmp_path: Path) -> None:
    """Late, twice, out of order, re-delivered and corrected: the table is the rule over all that stands (S17, S18)."""
    rng = Random(20250310)  # noqa: S311 - repeatable, not secret
    histories = [random_history(rng, timeout, rounds=2) for _ in range(HISTORIES)]
    rule = SessionRule(timeout, ACTIONS)
    for until, delivered in enumerate(pack(histories), start=1):
        write_batches(tmp_path / "landing", delivered)
        land(lake, Landing(str(tmp_path / "landing")), list(delivered), LATENESS_DAYS)
        days = rng.sample(list(delivered), len(delivered))
        for some in (days[::2], days[1::2]):
            apply(lake, some, rule)
        assert stored_rows(lake) == expected_rows(histories, until, timeout)
    assert rerun_writes_nothing(lake, list(CALENDAR), rule)
