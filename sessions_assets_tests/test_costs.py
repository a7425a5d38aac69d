"""What a day costs, in numbers that no clock has a say in: it must not grow unnoticed."""

import shutil
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyspark.sql import DataFrame, SparkSession

from benchmarks.deltas import counted_by_delta, feed_sizes
from benchmarks.events import Shape, arrival_days, write_batches
from benchmarks.meters import measured_on
from sessions_assets.lake.tables import ODS_SESSIONS, SESSIONS
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import compute
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.results import ApplyResult
from sessions_assets.pipeline.summarize import summarize
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.lakes import Lake

SHAPE = Shape(days=14, events_per_day=400, users=40)
DAYS = arrival_days(SHAPE)
LATENESS_DAYS = 5


class Costs:
    """Lakes with the same last days and a shorter or a longer history, and what one more day costs in them."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self._folder = spark, folder
        write_batches(folder / "landing", SHAPE, seed=7)
        self.landing = Landing(str(folder / "landing"))

    def after(self, days: list[date]) -> Lake:
        """Make a lake that holds these days, applied in one run; once, since whoever gets it may write to it."""
        place = self._folder / f"lake of {len(days)} days"
        place.mkdir()
        lake = Lake(self._spark, str(place))
        land(lake.spark, lake, self.landing, days, LATENESS_DAYS)
        apply(lake.spark, lake, days, SessionRule())
        return lake

    def copy(self, lake: Lake, name: str) -> Lake:
        """Copy a lake for a test that writes."""
        place = self._folder / name
        shutil.copytree(Path(lake.path(ODS_SESSIONS)).parent, place)
        return Lake(self._spark, str(place))

    def of(self, lake: Lake, work: Callable[[], object]) -> dict[str, float]:
        """Count what Spark and Delta do for some work."""
        before = lake.version(ODS_SESSIONS)
        counted = measured_on(self._spark, work).counted
        return counted | counted_by_delta(Path(lake.path(ODS_SESSIONS)), before)


@pytest.fixture(scope="module")
def costs(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Costs:
    return Costs(spark, tmp_path_factory.mktemp("costs"))


@pytest.fixture(scope="module")
def long_lake(costs: Costs) -> Lake:
    return costs.after(DAYS[:12])


@pytest.fixture(scope="module")
def short_lake(costs: Costs) -> Lake:
    """A lake with a shorter history and the same last days."""
    return costs.after(DAYS[5:12])


class OneMoreDay(NamedTuple):
    """What it costs to land and apply one more day of a lake, and how its changes are computed."""

    landed: dict[str, float]
    applied: dict[str, float]
    run: ApplyResult
    rows_in_reach: int
    plans: list[str]


def one_more_day_of(lake: Lake, costs: Costs) -> OneMoreDay:
    """Land and apply one more day."""
    last = DAYS[12]
    landed = costs.of(lake, lambda: land(lake.spark, lake, costs.landing, [last], LATENESS_DAYS))
    rows_in_reach = lake.read(ODS_SESSIONS).where(f"pdate >= DATE'{DAYS[6]}'").count()
    plans: list[str] = []
    changes = compute.changes

    def seen(*arguments: Any) -> DataFrame:  # noqa: ANN401 - passed on
        found: Any = changes(*arguments)
        plans.append(found._jdf.queryExecution().executedPlan().toString())  # noqa: SLF001 - as text only in Java
        return found

    runs: list[ApplyResult] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compute, "changes", seen)
        applied = costs.of(lake, lambda: runs.append(apply(lake.spark, lake, [last], SessionRule())))
    return OneMoreDay(landed, applied, runs[0], rows_in_reach, plans)


@pytest.fixture(scope="module")
def one_more_day(costs: Costs, long_lake: Lake) -> OneMoreDay:
    return one_more_day_of(costs.copy(long_lake, "one more"), costs)


def test_one_more_day_costs_what_it_changes(one_more_day: OneMoreDay) -> None:
    """Each row that changes is written once, no other is; Spark reads the batch twice, the table once."""
    landed, applied, run, rows_in_reach, _ = one_more_day
    assert landed["spark jobs"] <= 3
    assert landed["rows read"] <= 400 * 1.1 + 100

    changed = sum(run.rows.values())
    assert changed > 380
    assert (applied["commits"], applied["rows written"]) == (1, changed)
    assert applied["spark jobs"] <= 17
    assert applied["stages"] <= 24
    # The changed ones are read again from memory, to be counted, written and marked; the others are of Delta's log.
    batch = run.days[DAYS[12]].rows_accepted
    assert applied["rows read"] <= 2 * batch + rows_in_reach + 3 * changed + 300
    # Of each of six dates what is new; and the files of five that are marked, one for each task of the first run.
    assert applied["files touched"] <= 6 * 2 + 5 * 4


def test_the_plan_has_one_shuffle_of_rows_and_one_sort(one_more_day: OneMoreDay) -> None:
    """The earliest changes are shuffled, one row a key, and broadcast; the rows once, for both windows."""
    (plan,) = one_more_day.plans
    assert plan.count("Exchange hashpartitioning(") == 2
    assert (plan.count("BroadcastExchange"), plan.count("SortMergeJoin")) == (1, 0)
    assert (plan.count("Window ["), plan.count("Sort [")) == (2, 1)


@pytest.mark.long
def test_a_longer_history_costs_nothing(costs: Costs, short_lake: Lake, one_more_day: OneMoreDay) -> None:
    """Rows before the oldest event of the batch are not read; Delta's log knows a few files more."""
    short, long = one_more_day_of(costs.copy(short_lake, "one more of few"), costs).applied, one_more_day.applied
    assert long["MB of the table"] > 1.1 * short["MB of the table"]
    for counted in ("spark jobs", "stages", "rows written"):
        assert long[counted] == short[counted]
    assert long["rows read"] - short["rows read"] < 300
    assert long["MB of files in ods_sessions"] <= 1.1 * short["MB of files in ods_sessions"]


def summaries_of_one_more_day(lake: Lake, costs: Costs) -> tuple[dict[str, float], int]:
    """Count what the summaries of one more day cost, and how many of them change."""
    summarize(lake.spark, lake, SessionRule())
    land(lake.spark, lake, costs.landing, [DAYS[12]], LATENESS_DAYS)
    apply(lake.spark, lake, [DAYS[12]], SessionRule())
    before = lake.version(SESSIONS)
    counted = measured_on(lake.spark, lambda: summarize(lake.spark, lake, SessionRule())).counted
    counted |= counted_by_delta(Path(lake.path(SESSIONS)), before)
    feeds = [feed_sizes(Path(lake.path(table))) for table in (ODS_SESSIONS, SESSIONS)]
    counted["files of the change feed"] = sum(map(len, feeds))
    changed = lake.snapshot(SESSIONS).commits(1)[0]["operationMetrics"]
    return counted, sum(int(changed[f"numTargetRows{kind}"]) for kind in ("Inserted", "Updated"))


@pytest.mark.long
def test_summaries_cost_what_was_touched(costs: Costs, long_lake: Lake, short_lake: Lake) -> None:
    """A longer history costs nothing; each summary that changes is written once; the change feed has no files (R31)."""
    long, changed = summaries_of_one_more_day(costs.copy(long_lake, "summaries"), costs)
    short, _ = summaries_of_one_more_day(costs.copy(short_lake, "summaries of few"), costs)
    for counted in ("spark jobs", "stages", "rows written"):
        assert long[counted] == short[counted]
    assert long["rows written"] == changed > 50
    assert long["spark jobs"] <= 31
    assert long["rows read"] - short["rows read"] < 300
    assert long["MB of files in ods_sessions"] <= 1.1 * short["MB of files in ods_sessions"]
    assert long["files of the change feed"] == 0


def test_a_day_that_is_held_writes_nothing_and_is_only_counted(costs: Costs, long_lake: Lake) -> None:
    lake, last = costs.copy(long_lake, "held"), DAYS[11]

    def again() -> None:
        land(lake.spark, lake, costs.landing, [last], LATENESS_DAYS)
        apply(lake.spark, lake, [last], SessionRule())

    counted = costs.of(lake, again)
    assert (counted["commits"], counted["files touched"]) == (0, 0)
    assert counted["spark jobs"] <= 14


@pytest.mark.long
def test_a_day_finds_the_classes_of_the_day_before(costs: Costs, long_lake: Lake) -> None:
    """Of what Spark compiles for the queries of a day only the code that contains the day is compiled again."""
    lake = costs.copy(long_lake, "compiled")

    def one(day: date) -> None:
        land(lake.spark, lake, costs.landing, [day], LATENESS_DAYS)
        apply(lake.spark, lake, [day], SessionRule())

    conf, compiling = lake.spark.conf, {"wholeStage": "true", "factoryMode": "CODEGEN_ONLY"}
    usual = {name: conf.get(f"spark.sql.codegen.{name}") for name in compiling}
    for name, value in compiling.items():
        conf.set(f"spark.sql.codegen.{name}", value)
    try:
        first, second = (costs.of(lake, partial(one, day)) for day in DAYS[12:])
    finally:
        for name, value in usual.items():
            conf.set(f"spark.sql.codegen.{name}", value or "")
    assert first["classes compiled"] > 100
    assert second["classes compiled"] <= 15
