"""The way of one day through Dagster: real definitions, a real instance, the sample batches, real Delta tables."""

import random
import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from pyspark.sql import SparkSession

from sessions_assets.definitions import build_definitions
from sessions_assets.lake import Lake
from sessions_assets.sessions import SessionRule, all_sessions
from sessions_assets.settings import Settings
from sessions_assets.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE
from sessions_assets_tests.reference import Event, Row, expected_table
from sessions_assets_tests.tables import day, event, session_rows, stored_rows, write_batches

BATCHES = Path(__file__).parent.parent / "batches"
FIRST, LAST = date(2025, 3, 10), date(2025, 3, 23)
DAYS = [FIRST + timedelta(days=number) for number in range(14)]


class Deployment:
    """Definitions for one landing and one lake, with a Dagster instance of their own."""

    def __init__(self, spark: SparkSession, lake: Path, landing: Path = BATCHES, **settings: Any) -> None:  # noqa: ANN401 - passed on
        self.folder = lake
        self.lake = Lake(spark, str(lake))
        self.definitions = build_definitions(Settings(landing=str(landing), lake=str(lake), **settings))
        self.instance = dg.DagsterInstance.ephemeral(tempdir=str(lake.parent))

    def materialize(
        self, first: date, last: date | None = None, *, only: Sequence[str] = ("raw_events", "ods_sessions")
    ) -> dg.ExecuteInProcessResult:
        """Materialize one day, or a range of days in one run."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        selection = [dg.AssetKey(name) for name in only]
        if last is None:
            return job.execute_in_process(
                instance=self.instance,
                partition_key=first.isoformat(),
                asset_selection=selection,
                raise_on_error=False,
            )
        ends = {ASSET_PARTITION_RANGE_START_TAG: f"{first}", ASSET_PARTITION_RANGE_END_TAG: f"{last}"}
        return job.execute_in_process(
            instance=self.instance, tags=ends, asset_selection=selection, raise_on_error=False
        )

    def start(self, job: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a job that is not of the assets; give the numbers it leaves."""
        resolved = self.definitions.resolve_job_def(job)
        (step,) = resolved.nodes
        ops = {step.name: {"config": config}} if config else {}
        result = resolved.execute_in_process(instance=self.instance, run_config={"ops": ops})
        (output,) = (event for event in result.all_events if event.is_successful_output)
        return {name: value.value for name, value in output.step_output_data.metadata.items()}


Sample = tuple[Deployment, dg.ExecuteInProcessResult]


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, dict[str, Any]]:
    """Give the metadata of each day that a run materialized."""
    return {
        m.partition: {name: value.value for name, value in m.metadata.items()}
        for m in result.asset_materializations_for_node(asset)
    }


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """Give the description of the failure of a run."""
    assert not result.success
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data is not None
    return str(data.user_failure_data.description)


@pytest.fixture(scope="module")
def sample(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Deployment, dg.ExecuteInProcessResult]:
    """The sample days as one range run."""
    deployment = Deployment(spark, tmp_path_factory.mktemp("sample") / "lake")
    return deployment, deployment.materialize(FIRST, LAST)


def accepted(lake: Lake) -> dict[date, list[Event]]:
    deliveries: dict[date, list[Event]] = {arrival: [] for arrival in DAYS}
    for row in session_rows(
        lake.read(RAW_EVENTS).selectExpr(
            "user_id", "event_id", "product_code", "timestamp", "true AS is_user_action", "'' AS session_id",
            "timestamp AS session_start", "_updated_at AS first_updated_at", "_updated_at AS pdate",
        )
    ):  # fmt: skip
        deliveries[row.first_updated_at].append(Event(*row[:4]))
    return deliveries


def test_the_sample_becomes_what_the_reference_says(sample: Sample) -> None:
    """Rule over the union of all that was accepted, row by row (S18)."""
    deployment, result = sample
    assert result.success
    by_user: dict[tuple[str, str], dict[date, list[Event]]] = {}
    for arrival, events in accepted(deployment.lake).items():
        for row in events:
            by_user.setdefault((row.user_id, row.product_code), {}).setdefault(arrival, []).append(row)
    expected: list[Row] = []
    for deliveries in by_user.values():
        expected += expected_table(deliveries, timedelta(seconds=300), frozenset("abc"))
    assert stored_rows(deployment.lake) == sorted(expected)


def test_range_single_days_and_bulk_give_the_same_table(sample: Sample, spark: SparkSession, tmp_path: Path) -> None:
    """One range run; a shorter one and then a run for each day, in a random order; the rule over all at once (S18)."""
    by_range = stored_rows(sample[0].lake)
    shutil.copytree(sample[0].folder, tmp_path / "lake", ignore=shutil.ignore_patterns("ods_sessions"))
    single = Deployment(spark, tmp_path / "lake")
    assert single.materialize(DAYS[2], DAYS[11], only=["ods_sessions"]).success
    alone = [*DAYS[:2], *DAYS[12:]]
    for arrival in random.Random(7).sample(alone, len(alone)):  # noqa: S311 - repeatable, not secret
        assert single.materialize(arrival, only=["ods_sessions"]).success
    assert stored_rows(single.lake) == by_range
    assert session_rows(all_sessions(single.lake.read(RAW_EVENTS), SessionRule())) == by_range


@pytest.mark.long
def test_single_days_of_both_assets_give_the_table_of_a_range(
    sample: Sample, spark: SparkSession, tmp_path: Path, seed: int
) -> None:
    single = Deployment(spark, tmp_path / "lake")
    for arrival in random.Random(seed).sample(DAYS, len(DAYS)):  # noqa: S311 - the report names the seed
        assert single.materialize(arrival).success
    assert stored_rows(single.lake) == stored_rows(sample[0].lake)


def test_a_range_shows_each_day_its_own_numbers(sample: Sample) -> None:
    raw, ods = metadata(sample[1], "raw_events"), metadata(sample[1], "ods_sessions")
    assert list(raw) == list(ods) == [arrival.isoformat() for arrival in DAYS]
    day_18 = raw["2025-03-18"]
    assert (day_18["rows_delivered"], day_18["rows_accepted"], day_18["rows_quarantined"]) == (951, 949, 2)
    assert (day_18["quarantined/too_late"], day_18["quarantined/unparsable_timestamp"]) == (1, 1)
    assert day_18["additional_columns"] == "app_version"
    assert raw["2025-03-16"]["rows_delivered"] == 0
    assert sum(rows for name, rows in day_18.items() if name.startswith("late/")) == 949
    assert sum(numbers["rows_inserted"] for numbers in ods.values()) == 9675
    assert sum(numbers["duplicates"] for numbers in ods.values()) == 9833 - 9675
    assert ods["2025-03-10"]["run/rows_inserted"] == 9675
    assert ods["2025-03-10"]["delta_version"] == 1
    assert 0 < ods["2025-03-10"]["empty_share"] < 0.2


def test_materializing_again_makes_no_new_version(sample: Sample) -> None:
    """A single day behaves like a range: its numbers stay, nothing is written (S19)."""
    deployment, _ = sample
    before = deployment.lake.version(ODS_SESSIONS)
    result = deployment.materialize(date(2025, 3, 18))
    assert deployment.lake.version(ODS_SESSIONS) == before
    numbers = metadata(result, "ods_sessions")["2025-03-18"]
    assert (numbers["rows_accepted"], numbers["rows_inserted"], numbers["run/rows_changed"]) == (949, 0, 0)
    assert numbers["events_first_seen"] == 949 - numbers["duplicates"]


def test_a_missing_batch_fails_with_its_path(spark: SparkSession, tmp_path: Path) -> None:
    write_batches(tmp_path / "landing", {day(0): [event("a", "10:00")]})
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    assert "no batch of 2025-03-11 in file://" in failure_of(deployment.materialize(day(1)))
    assert "no batch of 2025-03-11 was delivered" in failure_of(deployment.materialize(day(1), only=["ods_sessions"]))
    assert not (tmp_path / "lake").exists()


def test_missing_days_of_a_range_are_skipped_and_reported(spark: SparkSession, tmp_path: Path) -> None:
    """A range takes what was delivered and says of the rest that it was not; with nothing delivered it fails."""
    write_batches(tmp_path / "landing", {day(1): [event("a", "10:00", 1)]})
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    result = deployment.materialize(day(0), day(2))
    for asset in ("raw_events", "ods_sessions"):
        assert [numbers["delivered"] for numbers in metadata(result, asset).values()] == [False, True, False]
    assert [row.user_id for row in stored_rows(deployment.lake)] == ["u"]
    assert "no batch of" in failure_of(deployment.materialize(day(3), day(5)))


def test_settings_reach_the_rule(spark: SparkSession, tmp_path: Path) -> None:
    """Timeout, actions and lateness of the settings are those of the run."""
    late = event("x", "10:00", -6)
    batches = {day(0): [event("x", "10:00"), event("y", "10:30"), late], day(1): [event("z", "10:59:59.999999")]}
    write_batches(tmp_path / "landing", batches)
    deployment = Deployment(
        spark,
        tmp_path / "lake",
        tmp_path / "landing",
        timeout=timedelta(seconds=1799, microseconds=999_999),
        user_actions=None,
        lateness_days=6,
    )
    assert deployment.materialize(day(0), day(1)).success
    starts = [row.session_start for row in stored_rows(deployment.lake)]
    assert starts == [
        late.timestamp,
        batches[day(0)][0].timestamp,
        batches[day(0)][1].timestamp,
        batches[day(0)][1].timestamp,
    ]


def test_the_jobs_beside_the_daily_flow(sample: Sample, spark: SparkSession, tmp_path: Path) -> None:
    """Another rule is refused until the rebuild; expiry and compaction say what they did, and are done once."""
    shutil.copytree(sample[0].folder, tmp_path / "lake")
    deployment = Deployment(spark, tmp_path / "lake", timeout=timedelta(seconds=60))
    assert "-j rebuild_sessions" in failure_of(deployment.materialize(LAST, only=["ods_sessions"]))

    rebuilt = deployment.start("rebuild_sessions")
    assert (rebuilt["before/events"], rebuilt["before/sessions"], rebuilt["before/empty"]) == (9675, 1576, 457)
    assert (rebuilt["after/events"], rebuilt["after/sessions"] > 1576, rebuilt["after/empty"] > 457) == (
        9675,
        True,
        True,
    )
    assert deployment.materialize(LAST, only=["ods_sessions"]).success
    bulk = all_sessions(deployment.lake.read(RAW_EVENTS), SessionRule(timeout=timedelta(seconds=60)))
    table = stored_rows(deployment.lake)
    assert table == session_rows(bulk)

    expired = {"expired_days": 2, "days": "2025-03-10, 2025-03-11"}
    assert deployment.start("expire_raw", {"retention_days": 11}) == expired
    assert deployment.start("expire_raw", {"retention_days": 11}) == {"expired_days": 0, "days": "none"}
    assert "cannot be landed or applied again" in failure_of(deployment.materialize(FIRST))
    assert deployment.start("compact_sessions")["compacted_dates"] == 0
    assert stored_rows(deployment.lake) == table


def test_expiry_and_compaction_start_daily() -> None:
    definitions = build_definitions(Settings())
    schedules = {schedule.job_name: schedule for schedule in definitions.schedules or []}
    assert set(schedules) == {"expire_raw", "compact_sessions"}
    assert {schedule.default_status for schedule in schedules.values()} == {dg.DefaultScheduleStatus.RUNNING}


def test_ods_depends_on_six_days_of_raw() -> None:
    graph = build_definitions(Settings()).resolve_asset_graph()
    ods = graph.get(dg.AssetKey("ods_sessions"))
    mapping = ods.partition_mappings[dg.AssetKey("raw_events")]
    upstream = mapping.get_upstream_mapped_partitions_result_for_partitions(
        ods.partitions_def.subset_with_partition_keys(["2025-03-20"]),
        ods.partitions_def,
        graph.get(dg.AssetKey("raw_events")).partitions_def,
    )
    assert sorted(upstream.partitions_subset.get_partition_keys()) == [f"2025-03-{d}" for d in range(15, 21)]


def test_definitions_load_as_a_server_loads_them() -> None:
    """By the module and attribute that workspace.yaml and pyproject.toml name."""
    from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module  # noqa: PLC0415

    targets = loadable_targets_from_python_module("sessions_assets.definitions", working_directory=None)
    assert [type(target.target_definition) for target in targets] == [dg.Definitions]
    dg.Definitions.validate_loadable(targets[0].target_definition)


def test_assets_are_described_for_the_ui() -> None:
    graph = build_definitions(Settings()).resolve_asset_graph()
    for table in (RAW_EVENTS, ODS_SESSIONS):
        node = graph.get(dg.AssetKey(table.name))
        assert node.description
        assert (node.group_name, node.kinds, node.owners) == ("sessions", {"pyspark", "deltalake"}, ["team:sessions"])
        schema = node.metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == [column.name for column in table.columns]
        assert all(column.description for column in schema.columns)
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
    assert graph.get(dg.AssetKey("ods_sessions")).pools == {"ods_sessions"}


def test_tables_explain_their_columns(sample: Sample) -> None:
    lake = sample[0].lake
    for table in (RAW_EVENTS, RAW_QUARANTINE, ODS_SESSIONS):
        fields = lake.read(table).schema.fields
        assert [(f.name, f.metadata["comment"], f.nullable) for f in fields] == [
            (column.name, column.meaning, column.nullable) for column in table.columns
        ]
