"""A team's day, through the real web server, code server and daemon: sensor, backfills, a bad day, its repair.

The tests are chapters of one story on one stack, in their order: each run costs the start of a JVM.
"""

import re
from datetime import date, timedelta

import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from sessions_assets.lake.lake import Lake
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS
from sessions_assets_tests.deployment import FIRST
from sessions_assets_tests.lakes import naive_rows
from sessions_assets_tests.operators import wait_for
from sessions_assets_tests.reference import Event, Row, expected_table
from sessions_assets_tests.stack import Stack

pytestmark = pytest.mark.stack

DAYS = [FIRST + timedelta(days=number) for number in range(5)]
NAMES = ("2025-03-10.csv", "2025-03-11.csv.gz", "2025-03-12.csv", "2025-03-13.jsonl", "2025-03-14.parquet")


def stored(stack: Stack) -> list[Row]:
    sessions = Lake(str(stack.lake)).snapshot(ODS_SESSIONS)
    return sorted(Row(*values) for values in naive_rows(sessions, "SELECT * FROM stored"))


def expected(stack: Stack) -> list[Row]:
    """Return the table that the rule makes of all accepted rows of raw_events (R18)."""
    by_key: dict[tuple[str, str], dict[date, list[Event]]] = {}
    accepted = "SELECT user_id, event_id, product_code, timestamp, _updated_at FROM stored"
    for *event, arrival in naive_rows(Lake(str(stack.lake)).snapshot(RAW_EVENTS), accepted):
        row = Event(*event)
        by_key.setdefault((row.user_id, row.product_code), {}).setdefault(arrival, []).append(row)
    return sorted(
        row for held in by_key.values() for row in expected_table(held, timedelta(seconds=300), frozenset("abc"))
    )


def version(stack: Stack) -> int:
    return DeltaTable(str(stack.lake / "ods_sessions")).version()


def test_batches_that_arrive_become_one_run(stack: Stack) -> None:
    """The sensor asks for one range of the days that follow each other; the run tells its phases; no Spark noise."""
    stack.deliver(*NAMES[:4])
    stack.turn("new_batches", on=True)
    asked = wait_for("run of the sensor", lambda: stack.runs() or None)
    run = stack.ended_run(asked[0].id)
    assert (run.status, run.days, len(asked)) == ("SUCCESS", "2025-03-10...2025-03-13", 1)
    assert len(stored(stack)) > 3000
    assert stored(stack) == expected(stack)
    said = stack.said(run.id)
    phases = ["write raw_events", "write raw_quarantine", "read", "compute", "commit"]
    phases += ["inspect", "summarize all", "inspect summaries"]
    assert [line.split(":")[0] for line in said if re.search(r": .*\d.* \(\d+\.\d s\)$", line)] == phases
    assert not [line for line in said if "INFO" in line or "spark" in line.lower()]
    assert "Spark" in stack.compute_log(run.id)


def test_a_backfill_of_both_assets_for_one_day_runs_what_depends_on_it(stack: Stack) -> None:
    """Raw of the day, then ods of D .. D+5, since these days read it; days without a batch are passed over (R19)."""
    before = version(stack)
    backfill = stack.backfill(["raw_events", "ods_sessions"], [DAYS[2]])
    assert stack.ended_backfill(backfill) == "COMPLETED_SUCCESS"
    runs = [(run.assets, run.days, run.status) for run in stack.runs(backfill)]
    assert runs == [
        (("raw_events",), "2025-03-12...2025-03-12", "SUCCESS"),
        (("ods_sessions",), "2025-03-12...2025-03-17", "SUCCESS"),
    ]
    assert version(stack) == before
    assert stack.days_by_state("raw_events") == {"MATERIALIZED": [("2025-03-10", "2025-03-13")]}
    missing = {"SUCCEEDED": [("2025-03-10", "2025-03-13")], "FAILED": [("2025-03-14", "2025-03-17")]}
    assert stack.days_by_state("ods_sessions", "window_complete") == missing
    asked = [run for run in stack.runs() if run.days == "2025-03-10...2025-03-13"]
    assert len(asked) == 1
    stack.turn("new_batches", on=False)


def test_a_failed_backfill_is_continued_once_the_batch_is_mended(stack: Stack) -> None:
    """What was refused is landed, and what waited for it applied, without another word than 'continue'."""
    batch = stack.landing / "2025-03-14.csv"
    batch.write_text("user_id,event_id,product_code\n1,a,I\n")
    failed = stack.backfill(["raw_events", "ods_sessions"], [DAYS[4]])
    assert stack.ended_backfill(failed) == "COMPLETED_FAILED"
    assert [(run.assets, run.status) for run in stack.runs(failed)] == [(("raw_events",), "FAILURE")]
    batch.unlink()
    stack.deliver(NAMES[4])
    continued = stack.continue_backfill(failed)
    assert stack.ended_backfill(continued) == "COMPLETED_SUCCESS"
    assert stack.days_by_state("raw_events") == {"MATERIALIZED": [("2025-03-10", "2025-03-14")]}
    assert stored(stack) == expected(stack)


def test_two_runs_write_one_after_the_other_and_a_bad_day_is_red_alone(stack: Stack) -> None:
    """A backfill of ods over a span, and a single day beside it: the pool lets one write at a time.

    One row of the 11th stands twice: this day is red in the range run, the others stay green.
    """
    table = DeltaTable(str(stack.lake / "ods_sessions"))
    one = "SELECT * FROM found WHERE first_updated_at = date '2025-03-11' AND session_id IS NULL ORDER BY 1, 4 LIMIT 1"
    write_deltalake(table, QueryBuilder().register("found", table).execute(one).read_all(), mode="append")
    backfill = stack.backfill(["ods_sessions"], DAYS)
    spans = wait_for("run of the backfill", lambda: stack.runs(backfill) or None)
    beside = stack.launch("__ASSET_JOB", assets=["ods_sessions"], day=DAYS[3])
    of_span, of_day = stack.ended_run(spans[0].id), stack.ended_run(beside)
    first, second = sorted(run.steps["ods_sessions"] for run in (of_span, of_day))
    assert first[1] <= second[0]
    assert (of_span.status, of_span.days) == ("FAILURE", "2025-03-10...2025-03-14")
    red = stack.days_by_state("ods_sessions", "one_row_per_event")
    assert (red["FAILED"], [span for span in red["SUCCEEDED"] if span[1] >= "2025-03-12"]) == (
        [("2025-03-11", "2025-03-11")],
        [("2025-03-12", "2025-03-19")],
    )


def test_a_rebuild_mends_it_and_the_checks_alone_say_so(stack: Stack) -> None:
    """Jobs from the Launchpad, and checks of a day without its materialization."""
    rebuilt = stack.ended_run(stack.launch("rebuild_sessions"))
    assert rebuilt.status == "SUCCESS"
    checks = {"ods_sessions": ["one_row_per_event", "recompute_agrees"]}
    alone = stack.ended_run(stack.launch("__ASSET_JOB", checks=checks, day=DAYS[1]))
    assert (alone.status, [*alone.steps]) == ("SUCCESS", ["checks_of_ods_sessions"])
    assert "FAILED" not in stack.days_by_state("ods_sessions", "one_row_per_event")
    assert stored(stack) == expected(stack)
