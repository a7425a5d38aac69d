"""A run that is killed at any moment needs no repair: repeated, it gives the table of a history without the crash.

Real processes, their JVM with them, ended by SIGKILL.
"""

import shutil
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, SESSION_CHANGES, SESSIONS
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.crashing import COMMANDS, DAYS, OTHER_RULE, RULE
from sessions_assets_tests.histories import LATENESS_DAYS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.reference import (
    Event,
    IdChange,
    Row,
    Summary,
    expected_id_changes,
    expected_summaries,
    expected_table,
)
from sessions_assets_tests.tables import day, event, stored_rows, write_batches

pytestmark = pytest.mark.long

PROJECT = Path(__file__).parent.parent
BEFORE = {
    day(0): [event("a", "10:00"), event("b", "10:04"), event("c", "10:08"), event("x", "10:09"), event("a", "12:00")],
    day(1): [event("b", "10:04"), event("a", "23:58", 1), event("x", "12:01"), event("a", "10:00", user="v")],
}
# Day 0 comes again: c is withdrawn, and b, which day 1 holds too. Day 2 is new and joins over midnight.
AFTER = BEFORE | {
    day(0): [event("a", "10:00"), event("x", "10:09"), event("a", "12:00")],
    day(2): [event("b", "00:02", 2), event("c", "10:13"), event("b", "10:04", user="v")],
}

REFUSED = event("", "10:00")

MOMENTS_OF_A_RUN = (
    "before Ledger.begin",
    "after Ledger.begin",
    "inside raw_events",
    "after raw.replace_days 1",
    "after raw.replace_days 2",
    "before Ledger.record",
    "after Ledger.record",
    "before writes.commit_changes",
    "inside ods_sessions",
    "after writes.commit_changes",
    "after Ledger.record_applied",
)
MOMENTS_OF_A_NEW_DAY = ("before raw.append_rows", "after raw.append_rows")


def table(deliveries: dict[date, list[Event]], rule: SessionRule = RULE) -> list[Row]:
    """Compute what the table must be, key by key."""
    keys = {(row.user_id, row.product_code) for events in deliveries.values() for row in events}
    rows: list[Row] = []
    for key in keys:
        own = {d: [row for row in events if (row.user_id, row.product_code) == key] for d, events in deliveries.items()}
        rows += expected_table(own, rule.timeout, frozenset("abc"))
    return sorted(rows)


@pytest.fixture(scope="module")
def start(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with two applied days, and a landing where the first has come again and a third is new."""
    folder = tmp_path_factory.mktemp("crashes")
    lake = Lake(spark, str(folder / "lake"))
    for arrival, events in BEFORE.items():
        write_batches(folder / "landing", {arrival: events})
        land(lake.spark, lake, Landing(str(folder / "landing")), [arrival], LATENESS_DAYS)
        apply(lake.spark, lake, [arrival], RULE)
    write_batches(folder / "landing", AFTER | {day(2): [*AFTER[day(2)], REFUSED]})
    assert stored_rows(lake) == table(BEFORE)
    return folder


def crash(folder: Path, command: str, moment: str) -> None:
    """Run a command in a process of its own until it dies at this moment."""
    arguments = [sys.executable, "-m", "sessions_assets_tests.crashing", str(folder), command, moment]
    done = subprocess.run(  # noqa: S603 - our own arguments
        arguments, cwd=PROJECT, start_new_session=True, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def seen(lake: Lake) -> list[list[Row]]:
    """Return what readers of ods_sessions could see, version by version, without the empty first one."""
    return [stored_rows(lake, v) for v in range(1, lake.version(ODS_SESSIONS) + 1)]


@pytest.mark.parametrize("moment", MOMENTS_OF_A_RUN)
def test_a_killed_run_is_only_repeated(moment: str, start: Path, spark: SparkSession, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    crash(tmp_path, "run", moment)
    lake = Lake(spark, str(tmp_path / "lake"))
    if moment == "inside raw_events":
        assert lake.version(RAW_EVENTS) == Lake(spark, str(start / "lake")).version(RAW_EVENTS)
    entries = lake.ledger.entries(DAYS)
    landed = [arrival for arrival, entry in entries.items() if entry.landed_at]
    assert lake.count_rows(RAW_EVENTS, landed) == {arrival: entries[arrival].rows_accepted for arrival in landed}
    if any(entry.applied_at and entry.rows_accepted == len(AFTER[arrival]) for arrival, entry in entries.items()):
        assert stored_rows(lake) == table(AFTER)

    COMMANDS["run"](tmp_path, lake)

    assert stored_rows(lake) == table(AFTER)
    assert all(entry.applied_at for entry in lake.ledger.entries(DAYS).values())
    assert [rows for rows in seen(lake) if rows not in (table({day(0): BEFORE[day(0)]}), table(BEFORE))] == [
        table(AFTER)
    ]


@pytest.mark.parametrize("moment", MOMENTS_OF_A_NEW_DAY)
def test_a_killed_landing_of_a_new_day_is_only_repeated(
    moment: str, start: Path, spark: SparkSession, tmp_path: Path
) -> None:
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    crash(tmp_path, "new day", moment)
    lake = Lake(spark, str(tmp_path / "lake"))
    assert lake.ledger.entries([day(2)])[day(2)].landed_at is None

    COMMANDS["new day"](tmp_path, lake)

    assert lake.count_rows(RAW_EVENTS, [day(2)]) == {day(2): len(AFTER[day(2)])}
    assert stored_rows(lake) == table(BEFORE | {day(2): AFTER[day(2)]})


@pytest.mark.parametrize("moment", ["after Ledger.expire", "after raw.delete_days 1", "before maintain.vacuum 2"])
def test_a_killed_expiry_is_only_repeated(moment: str, start: Path, spark: SparkSession, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    lake = Lake(spark, str(tmp_path / "lake"))
    COMMANDS["run"](tmp_path, lake)
    version = lake.version(ODS_SESSIONS)

    crash(tmp_path, "expire", moment)
    COMMANDS["expire"](tmp_path, lake)

    assert lake.count_rows(RAW_EVENTS, [day(0), day(1), day(2)]) == {day(0): 0, day(1): 4, day(2): 3}
    assert (stored_rows(lake), lake.version(ODS_SESSIONS)) == (table(AFTER), version)


@pytest.mark.parametrize("moment", ["after sessions.append_changes", "inside sessions", "after writes.commit_changes"])
def test_a_killed_summary_is_only_repeated(moment: str, start: Path, spark: SparkSession, tmp_path: Path) -> None:
    """Of a commit that removes, splits and joins: no change of ids is told twice, and none is lost (R28, R29)."""
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    lake = Lake(spark, str(tmp_path / "lake"))
    COMMANDS["summarize"](tmp_path, lake)
    before = stored_rows(lake)
    COMMANDS["run"](tmp_path, lake)

    crash(tmp_path, "summarize", moment)

    COMMANDS["summarize"](tmp_path, lake)
    rows = lake.rows(SESSIONS, ", ".join(Summary._fields))
    assert sorted(Summary(*row) for row in rows) == expected_summaries(stored_rows(lake))
    told = lake.rows(SESSION_CHANGES, "old_session_id, new_session_id, kind, rows")
    expected = expected_id_changes(before, stored_rows(lake))
    assert expected
    assert sorted((IdChange(*row) for row in told), key=str) == expected


@pytest.mark.parametrize("command", ["compact", "rebuild"])
@pytest.mark.parametrize("moment", ["inside ods_sessions", "after {}"])
def test_a_killed_rewrite_is_only_repeated(
    command: str, moment: str, start: Path, spark: SparkSession, tmp_path: Path
) -> None:
    """Readers see all of the old rows or all of the new ones; a rebuild cut off leaves the old rule in force."""
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    call = {"compact": "ods.compact", "rebuild": "writes.replace_all"}[command]
    lake = Lake(spark, str(tmp_path / "lake"))
    version, properties = lake.version(ODS_SESSIONS), lake.properties(ODS_SESSIONS)
    result = table(BEFORE, OTHER_RULE if command == "rebuild" else RULE)

    crash(tmp_path, command, moment.format(call))

    if moment.startswith("inside"):
        assert lake.version(ODS_SESSIONS) == version
        assert (stored_rows(lake), lake.properties(ODS_SESSIONS)) == (table(BEFORE), properties)
    else:
        assert stored_rows(lake) == result
    COMMANDS[command](tmp_path, lake)
    assert stored_rows(lake) == result
    assert [rows for rows in seen(lake)[2:] if rows != result] == []
