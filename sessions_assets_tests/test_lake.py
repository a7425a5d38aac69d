"""How the tables are made: with what they promise, and beside or after a process that makes them too."""

import json
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from deltalake import DeltaTable as DeltaLake

from sessions_assets import transactions
from sessions_assets.lake import Lake
from sessions_assets.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE, Table


@pytest.mark.parametrize("table", [RAW_EVENTS, RAW_QUARANTINE, ODS_SESSIONS], ids=lambda table: table.name)
def test_a_table_is_made_as_its_columns_say(table: Table, lake: Lake) -> None:
    lake.create(table, {"sessions.some": "thing"})
    schema = json.loads(DeltaLake(lake.path(table)).schema().to_json())
    assert [(field["name"], field["nullable"], field["metadata"]) for field in schema["fields"]] == [
        (column.name, column.nullable, {"comment": column.meaning}) for column in table.columns
    ]
    types = [field.dataType.simpleString() for field in lake.read(table).schema]
    assert types == [column.sql_type.lower() for column in table.columns]
    detail = DeltaTable.forPath(lake.spark, lake.path(table)).detail().first()
    assert detail["partitionColumns"] == [table.partition]
    has_vectors = {RAW_EVENTS: "false", RAW_QUARANTINE: "false", ODS_SESSIONS: "true"}[table]
    assert detail["properties"] == {"delta.enableDeletionVectors": has_vectors, "sessions.some": "thing"}


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


def test_of_two_creations_at_once_one_counts(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one commits when this one has looked and is about to commit."""
    last_step = transactions._manual_update  # noqa: SLF001 - the moment before the commit

    def overtaken(delta: object) -> object:
        monkeypatch.undo()
        lake.create(ODS_SESSIONS, {"sessions.some": "first"})
        return last_step(delta)

    monkeypatch.setattr(transactions, "_manual_update", overtaken)
    lake.create(ODS_SESSIONS, {"sessions.some": "second"})
    assert (lake.version(ODS_SESSIONS), lake.properties(ODS_SESSIONS)["sessions.some"]) == (0, "first")


def test_a_large_batch_gets_more_tasks(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task for every so many rows, as many for each of the two cores; afterwards it is as before."""
    monkeypatch.setattr("sessions_assets.lake._ROWS_PER_TASK", 10)
    for rows, tasks in ((0, "2"), (20, "2"), (21, "4"), (1000, "100")):
        with lake.tasks_for(rows):
            assert lake.spark.conf.get("spark.sql.shuffle.partitions") == tasks
    assert lake.spark.conf.get("spark.sql.shuffle.partitions") == "2"
