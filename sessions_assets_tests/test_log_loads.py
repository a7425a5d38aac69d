"""How often one run opens the logs of the Delta tables by delta-rs: once a table, and once more after a commit."""

from pathlib import Path

import deltalake
import pytest

from sessions_assets.lake import delta_table, ledger
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import day, event, write_batches

MOST = 5
LATENESS_DAYS = 5


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables whose log was opened, or that were only asked whether they exist, since the list was cleared."""
    found: list[str] = []

    class Counted(deltalake.DeltaTable):
        def __init__(self, table_uri: str, *arguments: object, **options: object) -> None:
            found.append(Path(table_uri).name)
            super().__init__(table_uri, *arguments, **options)

        @staticmethod
        def is_deltatable(table_uri: str, *arguments: object) -> bool:
            found.append(f"exists {table_uri}")
            return deltalake.DeltaTable.is_deltatable(table_uri, *arguments)

    for module in (delta_table, ledger):
        monkeypatch.setattr(module, "DeltaTable", Counted)
    return found


def test_a_run_opens_each_log_once_and_once_more_after_a_commit(lake: Lake, tmp_path: Path, loads: list[str]) -> None:
    """A late day beside stored ones with a refused row; then the same day again, which is only counted."""
    landing = Landing(str(tmp_path / "landing"))
    write_batches(tmp_path / "landing", {day(1): [event("a", "10:00", 1)]})
    land(lake.spark, lake, landing, [day(1)], LATENESS_DAYS)
    apply(lake.spark, lake, [day(1)], SessionRule())
    write_batches(tmp_path / "landing", {day(2): [event("b", "10:04", 1), event("", "10:05", 2)]})
    for expected_land, expected_apply in (
        (
            ["deliveries", "raw_events", "raw_quarantine", "raw_events", "raw_quarantine"],
            ["deliveries", "raw_events", "ods_sessions"],
        ),
        (["deliveries", "raw_events", "raw_quarantine"], ["deliveries", "raw_events", "ods_sessions"]),
    ):
        loads.clear()
        land(lake.spark, lake, landing, [day(2)], LATENESS_DAYS)
        assert loads == expected_land
        assert len(loads) <= MOST
        loads.clear()
        apply(lake.spark, lake, [day(2)], SessionRule())
        assert loads == expected_apply
        assert len(loads) <= MOST
