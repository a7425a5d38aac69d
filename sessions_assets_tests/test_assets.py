"""One day through Dagster: real definitions, a real instance, the sample batches, real Delta tables."""

import random
import shutil
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from pyspark.sql import SparkSession

from sessions_assets.definitions import build_definitions
from sessions_assets.lake.ods import sessions_by_hour
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE, SESSION_CHANGES, SESSIONS
from sessions_assets.rule.session_rule import SESSION_COLUMNS, SessionRule
from sessions_assets.rule.sessions import all_sessions
from sessions_assets.settings import Settings
from sessions_assets_tests.deployment import DAYS, Deployment, failure_of, metadata, recorded
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import Event, Row, expected_table
from sessions_assets_tests.tables import day, event, session_rows, stored_rows, write_batches


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


def test_the_sample_becomes_what_the_reference_says(sample: Deployment) -> None:
    """The table is the rule over the union of all accepted rows, row by row (R18)."""
    by_user: dict[tuple[str, str], dict[date, list[Event]]] = {}
    for arrival, events in accepted(sample.lake).items():
        for row in events:
            by_user.setdefault((row.user_id, row.product_code), {}).setdefault(arrival, []).append(row)
    expected: list[Row] = []
    for deliveries in by_user.values():
        expected += expected_table(deliveries, timedelta(seconds=300), frozenset("abc"))
    assert stored_rows(sample.lake) == sorted(expected)


@pytest.mark.long
def test_ranges_single_days_and_bulk_give_the_same_table(
    sample: Deployment, spark: SparkSession, tmp_path: Path
) -> None:
    """Two range runs; a shorter one and then single days, not in their order; the rule over all at once (R18)."""
    by_range = stored_rows(sample.lake)
    shutil.copytree(sample.folder, tmp_path / "lake", ignore=shutil.ignore_patterns("ods_sessions"))
    single = Deployment(spark, tmp_path / "lake")
    for ends in ((DAYS[2], DAYS[12]), (DAYS[13],), (DAYS[0],), (DAYS[1],)):
        assert single.materialize(*ends, only=["ods_sessions"]).success
    assert stored_rows(single.lake) == by_range
    assert session_rows(all_sessions(single.lake.read(RAW_EVENTS), SessionRule())) == by_range


@pytest.mark.long
def test_single_days_of_both_assets_give_the_table_of_a_range(
    sample: Deployment, spark: SparkSession, tmp_path: Path, seed: int
) -> None:
    single = Deployment(spark, tmp_path / "lake")
    for arrival in random.Random(seed).sample(DAYS, len(DAYS)):  # noqa: S311 - the report names the seed
        assert single.materialize(arrival).success
    assert stored_rows(single.lake) == stored_rows(sample.lake)


def test_a_range_shows_each_day_its_own_numbers(sample: Deployment) -> None:
    raw, ods = recorded(sample, "raw_events"), recorded(sample, "ods_sessions")
    assert list(raw) == list(ods) == [arrival.isoformat() for arrival in DAYS]
    day_18, day_18_applied = raw["2025-03-18"], ods["2025-03-18"]
    assert (day_18["rows_delivered"], day_18["rows_accepted"], day_18["rows_quarantined"]) == (951, 949, 2)
    assert (day_18["quarantined/too_late"], day_18["quarantined/unparsable_timestamp"]) == (1, 1)
    assert (day_18["attributes"], raw["2025-03-17"]["attributes"]) == ("app_version", "none")
    assert raw["2025-03-16"]["rows_delivered"] == 0
    assert sum(rows for name, rows in day_18.items() if name.startswith("late/")) == 949
    assert sum(numbers["rows_inserted"] for numbers in ods.values()) == 9675
    assert sum(numbers["duplicates"] for numbers in ods.values()) == 9833 - 9675
    assert ods["2025-03-10"]["run/rows_inserted"] + day_18_applied["run/rows_inserted"] == 9675
    assert (ods["2025-03-10"]["delta_version"], ods["2025-03-10"]["commit"]) == (1, "rows")
    assert (day_18_applied["delta_version"], day_18_applied["run/sessions_joined"] > 0) == (2, True)
    assert 0 < ods["2025-03-10"]["empty_share"] < 0.2


def test_a_day_shows_its_sessions_by_hour(sample: Deployment) -> None:
    """The sessions that begin on the date, as stored; their sum is shown beside the picture."""
    deployment = sample
    starts = {row.session_id: row.session_start for row in stored_rows(deployment.lake) if row.session_start}
    of_the_day = [start.hour for start in starts.values() if start.date() == date(2025, 3, 18)]
    hours = sessions_by_hour(deployment.lake.snapshot(ODS_SESSIONS), [date(2025, 3, 18), date(2024, 1, 1)])
    assert hours == {date(2025, 3, 18): Counter(of_the_day), date(2024, 1, 1): {}}
    shown = recorded(sample, "ods_sessions")["2025-03-18"]
    assert shown["sessions_begun"] == len(of_the_day) > 100
    assert shown["picture"].startswith("![2025-03-18](data:image/png")
    of_columns = shown["dagster/column_lineage"].deps_by_column
    assert [dep.column_name for dep in of_columns["pdate"]] == ["timestamp"]
    assert set(of_columns) == set(SESSION_COLUMNS)


def test_materializing_again_makes_no_new_version(sample: Deployment) -> None:
    """A single day behaves like a range: its numbers stay the same, nothing is written (R19)."""
    deployment = sample
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


def test_a_partition_is_a_day_and_no_path(spark: SparkSession, tmp_path: Path) -> None:
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    job = deployment.definitions.resolve_implicit_global_asset_job_def()
    with pytest.raises(dg.DagsterUnknownPartitionError, match=r"\.\./\.\./etc/passwd"):
        job.execute_in_process(instance=deployment.instance, partition_key="../../etc/passwd")
    look = deployment.run_job("expect_arrival", {"day": "../../etc/passwd"})
    assert not look.success


def test_missing_days_of_a_range_are_skipped_and_reported(spark: SparkSession, tmp_path: Path) -> None:
    """A range applies the delivered days and marks the others as not delivered; with none delivered it fails.

    sessions needs more than a delivery: that ods_sessions has applied it.
    """
    write_batches(tmp_path / "landing", {day(1): [event("a", "10:00", 1)]})
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    result = deployment.materialize(day(0), day(2), only=("raw_events", "ods_sessions", "sessions"))
    for asset, name in (("raw_events", "delivered"), ("ods_sessions", "delivered"), ("sessions", "applied")):
        assert [numbers[name] for numbers in metadata(result, asset).values()] == [False, True, False]
    assert "delivered" not in metadata(result, "sessions")["2025-03-10"]
    assert [row.user_id for row in stored_rows(deployment.lake)] == ["u"]
    assert "no batch of" in failure_of(deployment.materialize(day(3), day(5)))


def test_settings_reach_the_rule(spark: SparkSession, tmp_path: Path) -> None:
    """A run uses the timeout, the actions, the lateness and the way to commit of the settings."""
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
        commit="merge",
    )
    result = deployment.materialize(day(0), day(1))
    assert result.success
    assert metadata(result, "ods_sessions")["2025-03-10"]["commit"] == "merge"
    assert deployment.lake.snapshot(ODS_SESSIONS).commits(1)[0]["operation"] == "MERGE"
    starts = [row.session_start for row in stored_rows(deployment.lake)]
    assert starts == [
        late.timestamp,
        batches[day(0)][0].timestamp,
        batches[day(0)][1].timestamp,
        batches[day(0)][1].timestamp,
    ]


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
    """From the module and attribute that workspace.yaml and pyproject.toml name."""
    from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module  # noqa: PLC0415

    targets = loadable_targets_from_python_module("sessions_assets.definitions", working_directory=None)
    assert [type(target.target_definition) for target in targets] == [dg.Definitions]
    dg.Definitions.validate_loadable(targets[0].target_definition)


def test_assets_are_described_for_the_ui() -> None:
    graph = build_definitions(Settings()).resolve_asset_graph()
    for table in (RAW_EVENTS, ODS_SESSIONS, SESSIONS):
        node = graph.get(dg.AssetKey(table.name))
        assert node.description
        assert (node.group_name, node.kinds, node.owners) == ("sessions", {"pyspark", "deltalake"}, ["team:sessions"])
        schema = node.metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == [column.name for column in table.columns]
        assert all(column.description for column in schema.columns)
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
    assert graph.get(dg.AssetKey("ods_sessions")).pools == {"ods_sessions"}


def test_tables_explain_their_columns(sample: Deployment) -> None:
    lake = sample.lake
    for table in (RAW_EVENTS, RAW_QUARANTINE, ODS_SESSIONS, SESSIONS, SESSION_CHANGES):
        fields = lake.read(table).schema.fields
        assert [(f.name, f.metadata["comment"], f.nullable) for f in fields] == [
            (column.name, column.meaning, column.nullable) for column in table.columns
        ]
