"""A long range costs per run, not per day and check: opens of tables, queries to Dagster's instance, pictures."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable
from sqlalchemy import event as sql
from sqlalchemy.engine import Engine

from sessions_assets.dagster import check_states
from sessions_assets.dagster.metadata import PICTURED_DAYS, picture_metadata
from sessions_assets.pipeline.results import AppliedDay
from sessions_assets_tests.deployment import DAYS, FIRST, LAST, Deployment, recorded
from sessions_assets_tests.tables import day

FORTNIGHT, TWO_DAYS = (FIRST, LAST), (LAST - timedelta(days=1), LAST)


@contextmanager
def opens_of_tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, str]]]:
    """Count the tables that are opened, and those that are asked whether they exist, by name."""
    counted: Counter[tuple[str, str]] = Counter()
    load, exists = DeltaTable.__init__, DeltaTable.is_deltatable

    def counting_load(table: DeltaTable, address: str | Path, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        counted["load", Path(address).name] += 1
        load(table, address, *args, **kwargs)

    def counting_exists(address: str, *args: Any) -> bool:  # noqa: ANN401
        counted["exists", Path(address).name] += 1
        return exists(address, *args)

    with monkeypatch.context() as counting:
        counting.setattr(DeltaTable, "__init__", counting_load)
        counting.setattr(DeltaTable, "is_deltatable", staticmethod(counting_exists))
        yield counted


@contextmanager
def statements() -> Iterator[Counter[str]]:
    """Count the SQL statements that Dagster's storages execute, by their first word."""
    counted: Counter[str] = Counter()

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        counted[statement.split(maxsplit=1)[0]] += 1

    sql.listen(Engine, "before_cursor_execute", count)
    try:
        yield counted
    finally:
        sql.remove(Engine, "before_cursor_execute", count)


def check(deployment: Deployment, span: tuple[date, date], asset: str) -> None:
    """Run the checks of an asset for a range of days, and nothing else."""
    keys = deployment.definitions.resolve_asset_graph().asset_check_keys
    checks = frozenset(key for key in keys if key.asset_key == dg.AssetKey(asset))
    assert deployment.check_range(*span, checks).success


def test_checks_of_a_range_open_each_table_once(sample: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    with opens_of_tables(monkeypatch) as counted:
        check(sample, FORTNIGHT, "raw_events")
    tables = {"deliveries", "raw_events", "raw_quarantine"}
    assert {table: counted["load", table] for _, table in counted} == dict.fromkeys(tables, 1)
    assert all(counted["exists", table] <= 1 for table in tables)


@pytest.mark.parametrize("asset", ["raw_events", "ods_sessions", "sessions"])
def test_opens_and_queries_do_not_grow_with_the_days(
    sample: Deployment, asset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storing the evaluation of each day and check is all that grows: Dagster takes one at a time."""
    deployment = sample
    with opens_of_tables(monkeypatch) as opened_for_two_days, statements() as of_two_days:
        check(deployment, TWO_DAYS, asset)
    with opens_of_tables(monkeypatch) as opened_for_a_fortnight, statements() as of_a_fortnight:
        check(deployment, FORTNIGHT, asset)
    assert opened_for_a_fortnight == opened_for_two_days != {}
    assert of_a_fortnight["SELECT"] == of_two_days["SELECT"] > 0


def test_an_evaluation_is_about_the_newest_materialization_of_its_day(
    sample: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days that were materialized again, and one that never was; read in several pages."""
    deployment = sample
    monkeypatch.setattr(check_states, "_PAGE", 5)
    again = deployment.materialize(DAYS[3], DAYS[5], only=["raw_events"])
    absent = LAST + timedelta(days=1)
    check(deployment, (FIRST, absent), "raw_events")
    key = dg.AssetCheckKey(dg.AssetKey("raw_events"), "conservation")
    records = deployment.instance.event_log_storage.get_asset_check_execution_history(key, limit=len(DAYS) + 2)
    found = [record.event.dagster_event.asset_check_evaluation_data for record in records if record.event]
    targets = {evaluation.partition: evaluation.target_materialization_data for evaluation in found}
    assert targets.pop(str(absent)) is None
    del targets[None]
    assert {arrival for arrival, target in targets.items() if target} == {*map(str, DAYS)}
    renewed = {str(DAYS[number]) for number in (3, 4, 5)}
    assert {arrival for arrival, target in targets.items() if target and target.run_id == again.run_id} == renewed


def applied(number: int) -> dict[date, AppliedDay]:
    return {day(n): AppliedDay({0: n}, n, n, 0) for n in range(number)}


def test_the_newest_days_of_a_long_range_have_a_picture() -> None:
    days = applied(PICTURED_DAYS + 2)
    pictured = picture_metadata(days, {arrival: {9: 1} for arrival in days})
    assert [*pictured] == [*days][2:]
    assert {tuple(shown) for shown in pictured.values()} == {("picture",)}


def test_each_day_of_a_short_range_has_a_picture_and_its_numbers(sample: Deployment) -> None:
    shown = recorded(sample, "ods_sessions")
    assert {"picture", "sessions_begun"} <= set.intersection(*[set(numbers) for numbers in shown.values()])
