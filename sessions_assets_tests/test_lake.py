"""How the tables are made and days landed: with what they promise, and beside or after a process that does it too."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from threading import Barrier

import pytest
from delta.tables import DeltaTable
from deltalake import DeltaTable as DeltaLake
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from sessions_assets.lake.commits import create_table
from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.spark import schema_of, shuffle_partitions_for
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE, SESSIONS, Table
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.meeting import wait_for, waiting
from sessions_assets_tests.tables import day, event, frame


@pytest.mark.parametrize("table", [RAW_EVENTS, RAW_QUARANTINE, ODS_SESSIONS, SESSIONS], ids=lambda table: table.name)
def test_a_table_is_made_as_its_columns_say(table: Table, lake: Lake) -> None:
    lake.create(table, {"sessions.some": "thing"})
    schema = json.loads(DeltaLake(lake.path(table)).schema().to_json())
    assert [(field["name"], field["nullable"], field["metadata"]) for field in schema["fields"]] == [
        (column.name, column.nullable, {"comment": column.meaning}) for column in table.columns
    ]
    types = [field.dataType.simpleString() for field in lake.read(table).schema]
    assert types == [column.sql_type.lower().replace(" ", "") for column in table.columns]
    detail = DeltaTable.forPath(lake.spark, lake.path(table)).detail().first()
    assert detail["partitionColumns"] == [table.partition]
    by_rows = {"delta.enableDeletionVectors": "true", "delta.enableChangeDataFeed": "true"}
    by_days = {"delta.enableDeletionVectors": "false"}
    of_table = by_rows if table in {ODS_SESSIONS, SESSIONS} else by_days
    assert detail["properties"] == {**of_table, "sessions.some": "thing"}


def test_a_table_that_is_there_stays_as_it_is(lake: Lake) -> None:
    lake.create(ODS_SESSIONS, {"sessions.some": "thing"})
    lake.create(ODS_SESSIONS, {"sessions.some": "other"})
    assert (lake.version(ODS_SESSIONS), lake.properties(ODS_SESSIONS)["sessions.some"]) == (0, "thing")


def test_a_creation_that_was_killed_is_only_repeated(lake: Lake) -> None:
    """The folder of the log is there, its first commit is not: also what another process leaves for a moment."""
    log = Path(lake.path(ODS_SESSIONS)) / "_delta_log"
    log.mkdir(parents=True)
    (log / ".00000000000000000000.json.tmp").write_text("{")
    lake.create(ODS_SESSIONS)
    assert lake.version(ODS_SESSIONS) == 0


def test_of_two_creations_at_once_one_counts(spark: SparkSession, tmp_path: Path) -> None:
    """Both begin when there is no table, in each of some rounds."""
    for number in range(5):
        lake, together = Lake(spark, str(tmp_path / f"{number}")), Barrier(2)

        def create(name: str, lake: Lake = lake, together: Barrier = together) -> None:
            together.wait(60)
            create_table(spark, lake.path(ODS_SESSIONS), schema_of(ODS_SESSIONS), ["pdate"], {"sessions.some": name})

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(create, ["one", "two"])) == [None, None]
        assert lake.version(ODS_SESSIONS) == 0
        assert lake.properties(ODS_SESSIONS)["sessions.some"] in {"one", "two"}


@pytest.mark.parametrize(
    ("rows", "tasks", "is_adaptive"),
    [(0, "1", "false"), (4, "2", "false"), (29, "2", "false"), (31, "4", "true"), (1000, "100", "true")],
)
def test_a_large_batch_gets_more_tasks(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, rows: int, tasks: str, is_adaptive: str
) -> None:
    """A task for about so many rows, if there are some for each of the two cores; afterwards it is as before."""
    monkeypatch.setattr("sessions_assets.lake.spark._ROWS_PER_TASK", 10)
    monkeypatch.setattr("sessions_assets.lake.spark._LEAST_ROWS_PER_TASK", 4)
    names = "spark.sql.shuffle.partitions", "spark.sql.adaptive.enabled"
    before = [lake.spark.conf.get(name) for name in names]
    with shuffle_partitions_for(lake.spark, rows, is_planned_once=True):
        assert [lake.spark.conf.get(name) for name in names] == [tasks, is_adaptive]
    with shuffle_partitions_for(lake.spark, rows, is_planned_once=False):
        assert [lake.spark.conf.get(name) for name in names] == [tasks, "true"]
    assert [lake.spark.conf.get(name) for name in names] == before == ["2", "true"]


def delivered(lake: Lake, arrival: date) -> DataFrame:
    """One event that arrives on this day."""
    return frame(lake.spark, [(event("a", "10:00"), arrival)])


@pytest.mark.parametrize(("other", "is_refused"), [(day(0), True), (day(1), False)], ids=["the same day", "another"])
def test_of_two_landings_at_once_one_counts(lake: Lake, tmp_path: Path, *, other: date, is_refused: bool) -> None:
    """The other one commits when this one has found no row of its day and writes."""
    lake.create(RAW_EVENTS)
    refused = pytest.raises(LakeError, match="another run replaces 2025-03-10") if is_refused else nullcontext()
    with ThreadPoolExecutor(1) as pool:
        rows = waiting(delivered(lake, day(0)), "event_id", tmp_path)
        first = pool.submit(lake.replace_days, RAW_EVENTS, [day(0)], rows)
        wait_for(tmp_path / "computing")
        lake.replace_days(RAW_EVENTS, [other], delivered(lake, other))
        (tmp_path / "go").touch()
        with refused:
            first.result(120)
    assert lake.count_rows(RAW_EVENTS, [day(0), day(1)]) == {day(0): 1, day(1): 0 if is_refused else 1}
    lake.replace_days(RAW_EVENTS, [day(0)], delivered(lake, day(0)))
    assert lake.count_rows(RAW_EVENTS, [day(0)]) == {day(0): 1}


def test_a_row_of_another_day_is_refused(lake: Lake) -> None:
    lake.create(RAW_EVENTS)
    with pytest.raises(AnalysisException, match="does not conform to partial table overwrite condition"):
        lake.replace_days(RAW_EVENTS, [day(0)], delivered(lake, day(1)))
    assert lake.version(RAW_EVENTS) == 0


def test_a_day_without_a_row_makes_no_version(lake: Lake) -> None:
    lake.create(RAW_EVENTS)
    lake.replace_days(RAW_EVENTS, [day(0)], delivered(lake, day(0)).where("false"))
    assert lake.version(RAW_EVENTS) == 0
