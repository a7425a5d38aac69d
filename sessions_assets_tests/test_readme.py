"""The README says what is so: its commands run, its tables are those of the code, its examples give what it prints."""

import json
import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import click
import dagster as dg
import pytest
import yaml
from dagster._cli import create_dagster_cli
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import SparkSession

from sessions_assets.definitions import build_definitions
from sessions_assets.lake import tables
from sessions_assets.landing.batches import FORMATS, Landing
from sessions_assets.landing.layouts import layouts
from sessions_assets.landing.readers import read_rows
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.rule import events
from sessions_assets.rule.events import IDENTITY_COLUMNS, LATENESS_DAYS
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.settings import Settings
from sessions_assets_tests import test_drift
from sessions_assets_tests.deployment import Deployment
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.processes import python
from sessions_assets_tests.reference import Event, Row, expected_table, session_id, sessionize
from sessions_assets_tests.sample_batches import Row as Delivered
from sessions_assets_tests.sample_batches import deliveries, instant
from tools import demo

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text()
SAMPLE = (PROJECT / "batches" / "README.md").read_text()
MAKEFILE = (PROJECT / "Makefile").read_text()

TIMEOUT = timedelta(seconds=300)
ACTIONS = frozenset("abc")
# The day of the README's first command, and the one whose batch changes the sessions of the other.
DAY, LATE_DAY = date(2025, 3, 15), date(2025, 3, 18)
NESTED_AND_REFUSED = (test_drift.NESTED, *test_drift.REFUSED)
IN_A_SHELL = {"make", "dagster", "source", "export", "cp", "docker"}


# --- How the page is read


def code(language: str) -> list[str]:
    """Give the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """Give each line of the shell blocks as its words."""
    return [shlex.split(line) for block in code("bash") for line in block.splitlines()]


def dagster_commands() -> list[tuple[dict[str, str], list[str]]]:
    """Give each Dagster command: the variables set before it, and its arguments."""
    found = []
    for words in commands():
        settings = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        rest = words[len(settings) :]
        if rest and rest[0] == "dagster":
            found.append((settings, rest[1:]))
    return found


def rows(*header: str, page: str = README, after: str = "") -> list[list[str]]:
    """Give the rows of the table with this header, the first one after a text."""
    start = page.index(f"| {' | '.join(header)} |\n", page.index(after))
    lines = page[start:].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")] for line in lines]


def plain(cell: str) -> str:
    """Take the back quotes from around a cell."""
    return cell.removeprefix("`").removesuffix("`")


def parsed(arguments: list[str]) -> click.Context:
    """Parse a Dagster command as Dagster does, without running it."""
    command: click.Command = create_dagster_cli()
    rest = list(arguments)
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    return command.make_context(command.name, rest)


def rows_of_user_1(until: date) -> list[Row]:
    """Compute what user 1 has in product I once the sample batches up to this day are applied, in time order."""
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


# --- What the page shows


def test_the_five_events_of_the_first_screen_have_the_session_ids_beside_them() -> None:
    """Five events in, five rows out, as the plain reference computes them."""
    shown = {}
    for text, session, _ in rows("user_id, event_id, product_code, timestamp", "session_id", "why"):
        *names, clock = plain(text).split(",")
        shown[Event(*names, datetime.fromisoformat(clock))] = None if session == "NULL" else plain(session)
    computed = {
        row: start and session_id(row.user_id, row.product_code, start)
        for row, start in sessionize(shown, TIMEOUT, ACTIONS).items()
    }
    assert len(shown) == 5
    assert shown == computed


@pytest.mark.parametrize(
    ("heading", "until"),
    [("as the batches up to 2025-03-17 left it", date(2025, 3, 17)), ("after an action of 10:04:30", LATE_DAY)],
)
def test_the_printed_demo_shows_the_sessions_of_the_reference(heading: str, until: date) -> None:
    """User 1 before and after the late action, row by row."""
    shown = README.split(f"user 1, product I, {heading}", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    assert shown == [
        f"  {row.event_id}  {row.timestamp}  {row.session_id or '-':<23}  arrived {row.first_updated_at}"
        for row in rows_of_user_1(until)
    ]


def test_the_printed_demo_counts_the_rows_of_the_sample() -> None:
    """Rows and refusals of each batch, and the totals, are those that the page of the sample lists."""
    days = rows("day", "", "batch", "rows", "columns, in this order", "what is special", page=SAMPLE)
    refused = Counter((batch, reason) for batch, reason, _ in rows("batch", "reason", "row", page=SAMPLE))
    by_day = Counter(batch for batch, _ in refused.elements())
    shown = re.findall(r"^  (2025\S+) +(\d+) +(\d+) +\d+ +\d+ +\d+$", README, re.MULTILINE)
    assert shown == [(plain(row[2]).rstrip("/"), row[3], str(by_day[row[0].removeprefix("2025-")])) for row in days]
    reasons = Counter(reason for _, reason in refused.elements())
    assert f"raw_quarantine: {', '.join(f'{n} {reason}' for reason, n in sorted(reasons.items()))}\n" in README
    totals = dict(rows("what", "count", page=SAMPLE))
    assert f"\nods_sessions: {totals['distinct accepted events']} events in " in README


# --- What the page tells to type


def test_shell_blocks_hold_known_commands_only() -> None:
    """A command of another kind would be one that no test looks at."""
    first = {next(word for word in words if not re.match(r"[A-Z_]+=", word)) for words in commands()}
    assert first == IN_A_SHELL


def test_every_make_target_is_in_the_makefile() -> None:
    used = {words[1] for words in commands() if words[0] == "make"} | set(re.findall(r"`make ([a-z0-9-]+)`", README))
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE))
    variables = {word.split("=")[0] for words in commands() if words[0] == "make" for word in words[2:]}
    assert {"demo", "test"} <= used <= targets
    assert variables <= set(re.findall(r"^(\w+) \?=", MAKEFILE, re.MULTILINE))


def test_the_commands_of_compose_name_what_exists() -> None:
    """Services, and the file that is copied; what they start is in the tests of the stack."""
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    for words in commands():
        if words[0] == "cp":
            assert (PROJECT / words[1]).is_file()
        if words[0] == "docker":
            assert words[1:4] == ["compose", "up", "--build"]
            assert all(word.split("=")[0] in services for word in words[5:])
    ports = {port for service in services.values() for port in service.get("ports", [])}
    shown = {address.removeprefix("http://") for address, _ in rows("address", "what is there")}
    assert shown == {port.rpartition(":")[0] for port in ports}


@pytest.mark.parametrize(("settings", "arguments"), dagster_commands(), ids=" ".join)
def test_every_dagster_command_parses_and_names_what_exists(settings: dict[str, str], arguments: list[str]) -> None:
    """Options, module, assets, partitions, pool and variables."""
    context = parsed(arguments)
    assert settings.keys() <= set(variables_read())
    definitions = build_definitions(Settings.from_environment(settings))
    graph = definitions.resolve_asset_graph()
    if context.command.name == "materialize":
        module, names, days = (context.params[name] for name in ("module_name", "select", "partition"))
        assert module == "sessions_assets.definitions"
        assert names == "raw_events,ods_sessions"
        for name in names.split(","):
            partitions = graph.get(dg.AssetKey(name)).partitions_def
            assert partitions is not None
            ends = [days] if days else context.params["partition_range"].split("...")
            assert set(ends) <= set(partitions.get_partition_keys())
    if context.command.name == "execute":
        assert context.params["module_name"] == "sessions_assets.definitions"
        job = definitions.resolve_job_def(context.params["job_name"])
        if tags := context.params["tags"]:
            days = job.partitions_def or graph.get(dg.AssetKey("ods_sessions")).partitions_def
            assert days is not None
            assert json.loads(tags)["dagster/partition"] in days.get_partition_keys()
    if context.command.name == "set":
        assert context.params["key"] in (graph.get(dg.AssetKey("ods_sessions")).pools or set())


def test_a_command_that_does_not_parse_is_noticed() -> None:
    """The parser that the test above trusts refuses a wrong option."""
    with pytest.raises(click.UsageError):
        parsed(["asset", "materialize", "--select", "raw_events", "--partitions", "2025-03-15"])


# --- What the page lists


class Asked(dict[str, str]):
    """An environment that remembers which variables were looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """Remember the name; nothing is set."""
        self.names.append(name)
        return default


def variables_read() -> list[str]:
    """Give the environment variables that the settings look for."""
    asked = Asked()
    Settings.from_environment(asked)
    return asked.names


def test_the_configuration_table_lists_exactly_the_variables_that_are_read() -> None:
    listed = [plain(variable) for variable, _, _ in rows("variable", "default", "meaning")]
    assert sorted(listed) == sorted(variables_read())


@pytest.mark.parametrize(("variable", "default", "_"), rows("variable", "default", "meaning"))
def test_a_listed_default_is_the_default(variable: str, default: str, _: str) -> None:
    """Set to its listed default, a variable changes nothing; the setting it reaches is not the empty one."""
    if default == "none":
        assert Settings().s3_endpoint is None
        return
    assert plain(default)
    assert Settings.from_environment({plain(variable): plain(default)}) == Settings()


def test_the_listed_reasons_are_those_of_the_code() -> None:
    """Each constant of `events` that is named as its value, and one for each column that may not be blank."""
    constants = {value for name, value in vars(events).items() if name.isupper() and name.lower() == value}
    listed = {plain(reason) for reason, _, _ in rows("reason", "what it means", "example")}
    assert listed == constants | {f"blank_{column}" for column in IDENTITY_COLUMNS}


def test_every_format_of_a_batch_is_named() -> None:
    section = README.split("## What goes in\n", 1)[1].split("\n\n")[0]
    assert re.findall(r"`D(\.[a-z.]+)`", section) == list(FORMATS)


def test_listed_examples_are_refused_or_accepted_as_the_page_says(spark: SparkSession, tmp_path: Path) -> None:
    """One batch of all rows of the two tables; only bytes that are no UTF-8 have no example."""
    refused = {plain(text): plain(reason) for reason, _, text in rows("reason", "what it means", "example") if text}
    accepted = {f"1,a,I,{plain(text)}": plain(moment) for text, moment in rows("as delivered", "as stored, UTC")}
    (tmp_path / f"{DAY}.csv").write_text("\n".join([",".join(IDENTITY_COLUMNS), *refused, *accepted]))
    landing = Landing(str(tmp_path))
    delivered = read_rows(spark, layouts(spark, landing, list(landing.find([DAY]).values())))
    typed = events.typed(delivered, LATENESS_DAYS).selectExpr("raw_text", "coalesce(reason, string(timestamp)) AS fate")
    assert {row.raw_text: row.fate for row in typed.collect()} == refused | accepted


def test_every_kind_of_drift_is_a_tested_case() -> None:
    """By name, and with the fate that its test shows: rows in quarantine, or a refusal."""
    listed = {name: fate.split(":")[0].split(",")[0] for name, fate in rows("what changes", "what happens")}
    assert list(listed) == [*test_drift.TEXT, *test_drift.PARQUET, test_drift.A_NUMBER, *NESTED_AND_REFUSED]
    quarantined = {name for name, (_, _, refused) in test_drift.TEXT.items() if refused} | {test_drift.A_NUMBER}
    assert {name for name, fate in listed.items() if fate == "quarantined"} == quarantined
    assert {name for name, fate in listed.items() if fate == "refused"} == set(NESTED_AND_REFUSED)


def test_the_listed_checks_are_those_of_the_definitions() -> None:
    """Names, what they say, and which of them stop the run."""
    graph = build_definitions(Settings()).resolve_asset_graph()
    for asset in ("raw_events", "ods_sessions"):
        specs = {key.name: graph.get(key) for key in graph.asset_check_keys if key.asset_key.path == [asset]}
        listed = rows(f"check of `{asset}`", "what it says", "if it fails")
        assert {plain(name): holds for name, holds, _ in listed} == {
            name: f"{spec.description[0].lower()}{spec.description[1:-1]}" for name, spec in specs.items()
        }
        assert {plain(name) for name, _, fate in listed if fate.startswith("the run")} == {
            name for name, spec in specs.items() if spec.blocking
        }


@pytest.mark.parametrize("table", [tables.RAW_EVENTS, tables.RAW_QUARANTINE, tables.DELIVERIES, tables.ODS_SESSIONS])
def test_the_columns_of_a_table_are_listed(table: tables.Table) -> None:
    """Names, types and meanings in their order, and the partition."""
    listed = rows("column", "type", "meaning", after=f"### {table.name}\n")
    assert listed == [[f"`{column.name}`", column.sql_type, column.meaning] for column in table.columns]
    section = README.split(f"### {table.name}\n", 1)[1].split("|", 1)[0]
    assert re.findall(r"Partitioned by `(\w+)`", section) == ([table.partition] if table.partition else [])


def test_the_rooms_of_the_house_are_those_of_the_package() -> None:
    listed = [room for room, _ in rows("room", "what is in it")]
    modules = {path.stem for path in (PROJECT / "sessions_assets").glob("[!_]*.py")}
    assert set(listed) == {f"[{name}](sessions_assets/{name}.py)" for name in modules}
    assert len(listed) == len(modules)


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_relative_links_lead_somewhere(page: str) -> None:
    """To a file of the project, or to a heading of the page as GitHub names it."""
    text = (PROJECT / page).read_text()
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    anchors = {"#" + re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    relative = [link for link in links if not link.startswith("https://")]
    assert [link for link in relative if link not in anchors and not (PROJECT / link).exists()] == []


# --- What the commands and examples do


@pytest.fixture(scope="module")
def place(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first command of the page has run, with all defaults, and then the late batch landed.

    The late batch makes a deletion vector, and takes the shorter way without Dagster.
    """
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(PROJECT / "batches", folder / "batches")
    (folder / ".dagster_home").mkdir()
    shutil.copy(PROJECT / ".dagster_home" / "dagster.yaml", folder / ".dagster_home")
    environment = {name: value for name, value in os.environ.items() if name not in variables_read()}
    environment |= {"DAGSTER_HOME": str(folder / ".dagster_home"), "PYTHONPATH": str(PROJECT)}
    arguments = next(arguments for _, arguments in dagster_commands() if "materialize" in arguments)
    python("-m", "dagster", *arguments, cwd=folder, environment=environment)
    lake = Lake(spark, str(folder / "lake"))
    land(lake.spark, lake, Landing(str(folder / "batches")), [LATE_DAY], LATENESS_DAYS)
    apply(lake.spark, lake, [LATE_DAY], SessionRule())
    return folder


@pytest.mark.usefixtures("spark")
def test_the_demo_prints_what_stands_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it, but the seconds; with the session of the tests."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batches").symlink_to(PROJECT / "batches")
    (tmp_path / ".dagster_home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / ".dagster_home"))
    demo.main()
    printed = re.sub(r"\(\d+ s\)", "(... s)", capsys.readouterr().out)
    (shown,) = [block for block in code("text") if block.startswith("materializing")]
    assert printed.strip() == shown.strip()


@pytest.fixture
def run_example(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[int], str]:
    """Run an example of the page, by its number, in that folder, and give what it prints."""
    monkeypatch.chdir(place)

    def run(number: int) -> str:
        capsys.readouterr()
        exec(code("python")[number], {})  # noqa: S102 - the page's own text
        return capsys.readouterr().out

    return run


def cells(printed: str) -> list[list[str]]:
    """Give the rows of a printed table below its names and types."""
    lines = [line for line in printed.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_reading_example_prints_what_stands_below_it(place: Path, run_example: Callable[[int], str]) -> None:
    """Read with delta-rs, from a table in which MERGE has left a deletion vector."""
    logs = (place / "lake" / "ods_sessions" / "_delta_log").glob("*.json")
    assert any('"deletionVector":{' in log.read_text() for log in logs)
    printed = cells(run_example(0))
    assert printed == [
        [row.event_id, f"{row.timestamp.isoformat()}Z", row.session_id or "null"] for row in rows_of_user_1(LATE_DAY)
    ]
    shown = next(block for block in code("text") if block.startswith("arro3"))
    assert printed == cells(shown)


def test_other_readers_see_the_same(place: Path, run_example: Callable[[int], str]) -> None:
    """Polars and DuckDB, on that table with its deletion vector."""
    counted = "SELECT count(*), count(DISTINCT session_id) FROM ods"
    table = QueryBuilder().register("ods", DeltaTable(str(place / "lake" / "ods_sessions"))).execute(counted).read_all()
    expected = [str(table.column(number).to_pylist()[0]) for number in (0, 1)]
    for number in (1, 2):
        numbers = [re.findall(r"\d+", line) for line in run_example(number).splitlines()]
        assert expected in numbers


def test_the_quarantine_example_shows_the_refused_rows_of_the_sample(run_example: Callable[[int], str]) -> None:
    """Those of the two days that have landed, as the page of the sample lists them."""
    of_the_days = {DAY.strftime("%m-%d"), LATE_DAY.strftime("%m-%d")}
    listed = [row for row in rows("batch", "reason", "row", page=SAMPLE) if row[0] in of_the_days]
    shown = {tuple(row[:2]) for row in cells(run_example(3))}
    assert shown == {(f"2025-{batch}", reason) for batch, reason, _ in listed}


@pytest.mark.parametrize("asset", ["raw_events", "ods_sessions"])
def test_the_listed_numbers_are_those_of_the_run(place: Path, asset: str) -> None:
    """The names of the metadata that the command left in Dagster's records: no more, no less."""
    with dg.DagsterInstance.from_config(str(place / ".dagster_home")) as instance:
        record = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0]
        assert record.asset_materialization is not None
        emitted = set(record.asset_materialization.metadata)
    emitted = {re.sub(r"^late/-?\d+_", "late/N_", name) for name in emitted}
    emitted = {re.sub(r"^quarantined/.*", "quarantined/REASON", name) for name in emitted}
    assert record.partition_key == DAY.isoformat()
    assert {plain(name) for name, _ in rows("name", "meaning", after=f"Of `{asset}`, for each day")} == emitted


class Inbox(BaseHTTPRequestHandler):
    """What stands at the address to which the example of the page sends its alert."""

    received: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        """Keep a message."""
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(200)
        self.end_headers()


def test_the_alert_example_tells_why_a_run_failed(spark: SparkSession, tmp_path: Path) -> None:
    """The sensor of the page, asked about a real failed run, sends one sentence to a real server."""
    (tmp_path / "landing").mkdir()
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    failed = deployment.materialize(DAY)
    with HTTPServer(("127.0.0.1", 0), Inbox) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        program = code("python")[4]
        assert "127.0.0.1:8065" in program
        example: dict[str, Any] = {}
        exec(program.replace("8065", str(server.server_port)), example)  # noqa: S102 - the page's own text
        context = dg.build_run_status_sensor_context(
            sensor_name="tell_the_team",
            dagster_instance=deployment.instance,
            dagster_run=failed.dagster_run,
            dagster_event=failed.get_run_failure_event(),
        ).for_run_failure()
        example["tell_the_team"](context)
        server.shutdown()
    dg.Definitions.validate_loadable(example["defs"])
    (told,) = Inbox.received
    assert re.fullmatch(r"__ASSET_JOB: no batch of 2025-03-15 in file://.*: expected .*", told)
