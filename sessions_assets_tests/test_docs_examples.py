"""The commands and examples of the pages do what the pages say: the demo, the first command, the Python examples.

They read the lake and the records that one run of the demo leaves.
"""

import re
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._cli import create_dagster_cli
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import DataFrame, SparkSession

from sessions_assets.lake.delta_table import Snapshot
from sessions_assets.landing.batches import Landing
from sessions_assets.landing.readers import read_rows
from sessions_assets.rule import events
from sessions_assets.rule.events import IDENTITY_COLUMNS, LATENESS_DAYS
from sessions_assets_tests.demonstration import Demo
from sessions_assets_tests.lakes import naive_rows
from sessions_assets_tests.pages import Page, dagster_commands, plain, variables_read
from sessions_assets_tests.reference import Event, Row, Summary, expected_summaries, expected_table
from sessions_assets_tests.sample_batches import Row as Delivered
from sessions_assets_tests.sample_batches import deliveries, instant

README, SAMPLE = Page("README.md"), Page("batches/README.md")
INPUT, TABLES, OPERATIONS = (Page(f"docs/{name}.md") for name in ("input", "tables", "operations"))

TIMEOUT = timedelta(seconds=300)
ACTIONS = frozenset("abc")
# The day of the first command, and the one whose batch changes the sessions of the other.
DAY, LATE_DAY = date(2025, 3, 15), date(2025, 3, 18)


def rows_of_user_1(until: date) -> list[Row]:
    """Compute the rows of user 1 in product I after the sample batches up to this day, in time order."""
    held = {
        arrival: [
            Event(*line[:3], instant(line.timestamp).replace(tzinfo=None))
            for line in lines
            if isinstance(line, Delivered) and (line.user_id, line.product_code) == ("1", "I")
        ]
        for arrival, lines in deliveries().items()
        if arrival <= until
    }
    return sorted(expected_table(held, TIMEOUT, ACTIONS), key=lambda row: row.timestamp)


# --- The demo


def test_the_demo_prints_the_excerpt_of_the_readme(demo_run: Demo) -> None:
    """Each part of it, in this order; `...` stands for lines left out."""
    (shown,) = (block for block in README.code("text") if block.startswith("materializing"))
    rest = demo_run.printed
    for part in shown.split("...\n"):
        assert part in rest, part
        rest = rest.split(part, 1)[1]


@pytest.mark.parametrize(
    ("heading", "until"),
    [("after the batches up to 2025-03-17", date(2025, 3, 17)), ("after an action of 10:04:30 arrived", LATE_DAY)],
)
def test_the_demo_prints_the_sessions_of_the_reference(demo_run: Demo, heading: str, until: date) -> None:
    """User 1 before and after the late action, row by row."""
    section = demo_run.printed.split(f"user 1, product I, {heading}", 1)[1]
    assert section.split("\n\n", 1)[0].splitlines()[1:] == [
        f"  {row.event_id}  {row.timestamp}  {row.session_id or '-':<23}  arrived {row.first_updated_at}"
        for row in rows_of_user_1(until)
    ]


def test_the_demo_prints_the_counts_of_the_sample(demo_run: Demo) -> None:
    """Rows and refusals of each batch, and the totals, are those listed on the page of the sample."""
    days = SAMPLE.rows("day", "", "batch", "rows", "columns, in this order", "what is special")
    refused = Counter((batch, reason) for batch, reason, _ in SAMPLE.rows("batch", "reason", "row"))
    by_day = Counter(batch for batch, _ in refused.elements())
    shown = re.findall(r"^  (2025\S+) +(\d+) +(\d+) +\d+ +\d+ +\d+$", demo_run.printed, re.MULTILINE)
    assert shown == [(plain(row[2]).rstrip("/"), row[3], str(by_day[row[0].removeprefix("2025-")])) for row in days]
    reasons = Counter(reason for _, reason in refused.elements())
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    assert f"raw_quarantine: {listed}\n" in demo_run.printed
    totals = dict(SAMPLE.rows("what", "count"))
    assert f"\nods_sessions: {totals['distinct accepted events']} events, " in demo_run.printed


# --- The first command


@pytest.fixture(scope="module")
def first_command(demo_run: Demo, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The first command of the operations page, after `touch` of its batch; in a copy of the demo.

    In this process, whose Spark it finds; the tests of the locale and of the stack start processes.
    """
    assert spark
    folder = tmp_path_factory.mktemp("first_command") / "demo"
    shutil.copytree(demo_run.folder, folder)
    copied = replace(demo_run, folder=folder)
    arguments = next(arguments for _, _, arguments in dagster_commands() if "materialize" in arguments)
    (folder / "batches" / f"{DAY}.csv").touch()
    before = copied.ods_version()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DAGSTER_HOME", str(folder / ".dagster_home"))
        for name in variables_read():
            patch.delenv(name, raising=False)
        # It reads the environment when it is loaded.
        patch.delitem(sys.modules, "sessions_assets.definitions", raising=False)
        with warnings.catch_warnings():
            # Dagster has another command for it by now; this one goes on working.
            warnings.simplefilter("ignore", dg.SupersessionWarning)
            done = CliRunner().invoke(create_dagster_cli(), arguments)
        sys.modules.pop("sessions_assets.definitions", None)
    assert done.exit_code == 0, done.output
    assert copied.ods_version() == before
    return copied


@pytest.mark.parametrize("asset", ["raw_events", "ods_sessions", "sessions"])
def test_the_listed_numbers_are_those_of_the_run(first_command: Demo, asset: str) -> None:
    """The names of the metadata that the command left in Dagster's records: no more; less those of other runs alone.

    The meaning of such a name begins with "only": the tests of what it needs assert it.
    """
    with dg.DagsterInstance.from_config(str(first_command.folder / ".dagster_home")) as instance:
        record = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0]
        assert record.asset_materialization is not None
        emitted = set(record.asset_materialization.metadata)
    emitted = {re.sub(r"^late/-?\d+_", "late/N_", name) for name in emitted}
    emitted = {re.sub(r"^quarantined/.*", "quarantined/REASON", name) for name in emitted}
    assert record.partition_key == DAY.isoformat()
    listed = {
        plain(name): meaning
        for name, meaning in OPERATIONS.rows("name", "meaning", after=f"Of `{asset}`, for each day")
    }
    assert emitted <= set(listed)
    assert {name for name, meaning in listed.items() if not meaning.startswith("only ")} <= emitted


# --- The Python examples


@pytest.fixture
def run_example(
    demo_run: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Run an example in the folder of the demo, and return what it prints."""
    monkeypatch.chdir(demo_run.folder)

    def run(program: str) -> str:
        capsys.readouterr()
        exec(program, {})  # noqa: S102 - the page's own text
        return capsys.readouterr().out

    return run


def cells(printed: str) -> list[list[str]]:
    """Return the rows of a printed table below its names and types."""
    lines = [line for line in printed.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_reading_example_prints_the_table_below_it(demo_run: Demo, run_example: Callable[[str], str]) -> None:
    """Read with delta-rs, from a table with deletion vectors."""
    logs = (demo_run.folder / "lake" / "ods_sessions" / "_delta_log").glob("*.json")
    assert any('"deletionVector":{' in log.read_text() for log in logs)
    printed = run_example(TABLES.code("python")[0])
    assert cells(printed) == [
        [row.event_id, f"{row.timestamp.isoformat()}Z", row.session_id or "null"] for row in rows_of_user_1(LATE_DAY)
    ]
    assert printed.strip() == TABLES.code("text")[0].strip()


@pytest.mark.parametrize("number", [1, 2], ids=["Polars", "DuckDB"])
def test_other_readers_return_the_same(demo_run: Demo, run_example: Callable[[str], str], number: int) -> None:
    counted = "SELECT count(*), count(DISTINCT session_id) FROM ods"
    stored = DeltaTable(str(demo_run.folder / "lake" / "ods_sessions"))
    table = QueryBuilder().register("ods", stored).execute(counted).read_all()
    expected = [str(table.column(position).to_pylist()[0]) for position in (0, 1)]
    lines = run_example(TABLES.code("python")[number]).splitlines()
    assert expected in [re.findall(r"\d+", line) for line in lines]


def test_the_quarantine_example_shows_the_refused_rows_of_the_sample(run_example: Callable[[str], str]) -> None:
    shown = [tuple(row[:2]) for row in cells(run_example(OPERATIONS.code("python")[0]))]
    listed = [(f"2025-{batch}", reason) for batch, reason, _ in SAMPLE.rows("batch", "reason", "row")]
    by_reason = sorted(listed, key=lambda row: row[1])
    assert shown == sorted(by_reason, key=lambda row: row[0], reverse=True)[:10]


def test_the_values_of_refused_rows_are_those_of_the_sample(run_example: Callable[[str], str]) -> None:
    shown = cells(run_example(OPERATIONS.code("python")[1]))
    listed = [
        plain(row).split(",") for _, reason, row in SAMPLE.rows("batch", "reason", "row") if "_timestamp" in reason
    ]
    assert shown == [[user, time] for user, _, _, time in listed if time]


def test_the_attributes_example_prints_the_table_below_it(run_example: Callable[[str], str]) -> None:
    assert run_example(TABLES.code("python")[-1]).strip() == TABLES.code("text")[1].strip()


@pytest.fixture(scope="module")
def summaries(demo_run: Demo) -> list[Summary]:
    """Compute the sessions of the demo from the rows of its ods_sessions."""
    table = DeltaTable(str(demo_run.folder / "lake" / "ods_sessions"))
    rows = naive_rows(Snapshot("", table), f"SELECT {', '.join(Row._fields)} FROM stored")  # noqa: S608
    return expected_summaries(map(Row._make, rows))


YESTERDAY = "## How many sessions yesterday?"


@pytest.mark.parametrize("number", [0, 1], ids=["Polars", "DuckDB"])
def test_sessions_of_a_day_are_counted(
    summaries: list[Summary], run_example: Callable[[str], str], number: int
) -> None:
    assert of_late_day(summaries) in numbers_in(run_example(TABLES.code("python", YESTERDAY)[number]))


def of_late_day(summaries: list[Summary]) -> list[str]:
    """Return how many sessions began on that day, and their median duration."""
    durations = [row.duration_seconds for row in summaries if row.start_date == LATE_DAY]
    return [str(len(durations)), str(median(durations))]


def numbers_in(printed: str) -> list[list[str]]:
    return [re.findall(r"[\d.]+", line) for line in printed.splitlines()]


def test_spark_counts_the_sessions_of_a_day(
    demo_run: Demo, summaries: list[Summary], spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    # The working directory of the JVM is another one.
    text = TABLES.code("python", YESTERDAY)[2].replace("lake/", f"{demo_run.folder}/lake/")
    exec(text, {"spark": spark})  # noqa: S102 - the page's own text
    assert of_late_day(summaries) in numbers_in(capsys.readouterr().out)


def test_settled_sessions_are_counted(summaries: list[Summary], run_example: Callable[[str], str]) -> None:
    """All days to the 23rd are applied, so the 18th is settled."""
    end = datetime(2025, 3, 19)  # noqa: DTZ001 - naive times mean UTC
    settled = [row for row in summaries if row.session_end + TIMEOUT < end]
    assert cells(run_example(TABLES.code("python", "## Settled sessions")[0]))[-1] == ["2025-03-18", str(len(settled))]


def test_a_stored_id_is_mapped_to_that_of_today(run_example: Callable[[str], str]) -> None:
    """The second of two sessions that the late action of the demo joined."""
    printed = run_example(TABLES.code("python", "## Stored ids")[0])
    assert re.findall(r"1#I#[-\d]+ [:\d]+", printed) == ["1#I#2025-03-15 10:08:00", "1#I#2025-03-15 10:00:00"]


def test_a_consumer_keeps_a_copy(demo_run: Demo, summaries: list[Summary], monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing, which begins with the whole table; and from the version before the last one, by its feed."""
    monkeypatch.chdir(demo_run.folder)
    found: dict[str, Any] = {}
    exec(TABLES.code("python", "## Following the changes")[0], found)  # noqa: S102 - the page's own text
    expected = sorted((row.session_id, row.user_actions) for row in summaries)
    assert sorted(found["copy"].execute("SELECT * FROM sessions").fetchall()) == expected
    before = Snapshot("", DeltaTable("lake/sessions", version=1)).query("SELECT session_id, user_actions FROM stored")
    assert sorted(before) != expected
    found["copy"].execute("DELETE FROM sessions")
    found["copy"].executemany("INSERT INTO sessions VALUES (?, ?)", before)
    assert found["follow"](1) == 2
    assert sorted(found["copy"].execute("SELECT * FROM sessions").fetchall()) == expected


def test_spark_reads_the_feed(demo_run: Demo, spark: SparkSession) -> None:
    """What Spark says of a version is what delta-rs says of it."""
    address = str(demo_run.folder / "lake" / "sessions")
    found: dict[str, object] = {"spark": spark}
    # The working directory of the JVM is another one.
    exec(TABLES.code("python", "## Following the changes")[1].replace("lake/sessions", address), found)  # noqa: S102 - the page's own text
    feed = found["feed"]
    assert isinstance(feed, DataFrame)
    read = DeltaTable(address).load_cdf(starting_version=2, ending_version=2).read_all()
    assert {row["_change_type"]: row["count"] for row in feed.groupBy("_change_type").count().collect()} == Counter(
        read.column("_change_type").to_pylist()
    )


def test_listed_examples_are_refused_or_accepted_as_the_page_says(spark: SparkSession, tmp_path: Path) -> None:
    """One batch of all rows of the two tables; only invalid UTF-8 has no example."""
    refused = {
        plain(text): plain(reason) for reason, _, text in INPUT.rows("reason", "what it means", "example") if text
    }
    accepted = {f"1,a,I,{plain(text)}": plain(time) for text, time in INPUT.rows("as delivered", "as stored, UTC")}
    (tmp_path / f"{DAY}.csv").write_text("\n".join([",".join(IDENTITY_COLUMNS), *refused, *accepted]))
    landing = Landing(str(tmp_path))
    delivered = read_rows(spark, landing, list(landing.find([DAY]).values()))
    typed = events.typed(delivered, LATENESS_DAYS)
    outcomes = typed.selectExpr("raw_text", "coalesce(reason, string(timestamp)) AS outcome").collect()
    assert {row.raw_text: row.outcome for row in outcomes} == refused | accepted
