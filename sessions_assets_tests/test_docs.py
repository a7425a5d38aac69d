"""The pages match the code: tables list what exists, links resolve, rule numbers are defined.

Commands are in `test_docs_commands`, what the demo and the examples print in `test_docs_examples`.
"""

import re
from datetime import datetime, timedelta

import pytest

from sessions_assets.definitions import build_definitions
from sessions_assets.lake import tables
from sessions_assets.landing.batches import FORMATS
from sessions_assets.rule import events
from sessions_assets.rule.events import IDENTITY_COLUMNS
from sessions_assets.settings import Settings
from sessions_assets_tests import rule_numbers, test_drift, test_incremental, test_rule
from sessions_assets_tests.pages import (
    PROJECT,
    Page,
    broken_links,
    pages,
    plain,
    variables_read,
)
from sessions_assets_tests.reference import Event, session_id, sessionize

README, BENCHMARKS = Page("README.md"), Page("benchmarks/README.md")
RULE, INPUT, TABLES = Page("docs/rule.md"), Page("docs/input.md"), Page("docs/tables.md")
CONFIGURATION, OPERATIONS = Page("docs/configuration.md"), Page("docs/operations.md")
CONTRIBUTING = Page("CONTRIBUTING.md")

TIMEOUT = timedelta(seconds=300)
ACTIONS = frozenset("abc")
NESTED_AND_REFUSED = (test_drift.NESTED, *test_drift.REFUSED)


# --- Events and sessions shown


def test_the_five_events_of_the_readme_have_the_session_ids_of_the_reference() -> None:
    shown = {}
    for text, session, _ in README.rows("user_id, event_id, product_code, timestamp", "session_id", "why"):
        *names, clock = plain(text).split(",")
        shown[Event(*names, datetime.fromisoformat(clock))] = None if session == "NULL" else plain(session)
    computed = {
        row: start and session_id(row.user_id, row.product_code, start)
        for row, start in sessionize(shown, TIMEOUT, ACTIONS).items()
    }
    assert len(shown) == 5
    assert shown == computed


@pytest.mark.parametrize(
    ("header", "events_shown"),
    [
        (("event", "time", "session_start", "why"), 7),
        (("event", "time", "session_start after the late action"), 8),
    ],
)
def test_the_worked_example_has_the_sessions_of_the_reference(header: tuple[str, ...], events_shown: int) -> None:
    shown: dict[Event, datetime | None] = {}
    for name, clock, start, *_ in RULE.rows(*header):
        moment = datetime.fromisoformat(f"2025-03-15 {clock}")
        shown[Event("1", plain(name), "I", moment)] = (
            None if start == "NULL" else datetime.fromisoformat(f"2025-03-15 {start}")
        )
    assert len(shown) == events_shown
    assert shown == sessionize(shown, TIMEOUT, ACTIONS)


def test_the_cases_of_the_rule_are_the_named_tests() -> None:
    listed = [plain(case) for case, _, _ in RULE.rows("case", "what happens", "rules")]
    assert listed == [*test_rule.CASES, *test_incremental.CASES]


def test_the_speeds_of_the_readme_are_those_measured() -> None:
    measured = BENCHMARKS.rows("way", "times ours", "seconds, median (least to most)", "CPU s", "peak MiB")
    header = ("method", "time, relative", "CPU, relative", "peak MiB", "rows written")
    shown = [(time, peak) for _, time, _, peak, _ in README.rows(*header)]
    assert shown == [(time, peak) for _, time, _, _, peak in measured]


# --- Rule numbers and links


def test_each_rule_is_defined_once() -> None:
    assert rule_numbers.defined(RULE.text) == [f"R{number}" for number in range(1, 32)]


def test_each_cited_rule_is_defined() -> None:
    known = set(rule_numbers.defined(RULE.text))
    cited = {path: rule_numbers.cited(path.read_text(encoding="utf-8")) - known for path in rule_numbers.files()}
    assert {path: unknown for path, unknown in cited.items() if unknown} == {}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading(page: Page) -> None:
    assert broken_links(page) == []


def test_the_readme_links_to_all_pages() -> None:
    assert {page.name for page in pages()} <= {"README.md", *README.links()}


# --- Tables


def test_the_configuration_lists_exactly_the_variables_that_are_read() -> None:
    listed = [plain(variable) for variable, _, _ in CONFIGURATION.rows("variable", "default", "meaning")]
    assert set(listed) ^ set(variables_read()) == set()
    assert len(listed) == len(variables_read())


@pytest.mark.parametrize(("variable", "default", "_"), CONFIGURATION.rows("variable", "default", "meaning"))
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
    listed = {plain(reason) for reason, _, _ in INPUT.rows("reason", "what it means", "example")}
    assert listed == constants | {f"blank_{column}" for column in IDENTITY_COLUMNS}


def test_every_format_of_a_batch_is_named() -> None:
    section = INPUT.text.split("## Formats\n\n", 1)[1].split("\n\n")[0]
    assert re.findall(r"`D(\.[a-z0-9.]+)`", section) == list(FORMATS)


def test_every_kind_of_drift_is_a_tested_case() -> None:
    """By name, and with the outcome that its test shows: rows in quarantine, or a refusal."""
    table = INPUT.rows("what changes", "what happens")
    listed = {name: outcome.split(":")[0].split(",")[0] for name, outcome in table}
    assert list(listed) == [*test_drift.CASES, *NESTED_AND_REFUSED]
    quarantined = {name for name, (_, _, refused) in test_drift.TEXT.items() if refused} | {*test_drift.QUARANTINED}
    assert {name for name, outcome in listed.items() if outcome == "quarantined"} == quarantined
    assert {name for name, outcome in listed.items() if outcome == "refused"} == set(NESTED_AND_REFUSED)


def test_the_listed_checks_are_those_of_the_definitions() -> None:
    """Names, descriptions, and which of them stop the run."""
    graph = build_definitions(Settings()).resolve_asset_graph()
    for asset in ("raw_events", "ods_sessions"):
        specs = {key.name: graph.get(key) for key in graph.asset_check_keys if key.asset_key.path == [asset]}
        listed = OPERATIONS.rows(f"check of `{asset}`", "what it says", "if it fails")
        assert {plain(name): holds for name, holds, _ in listed} == {
            name: f"{spec.description[0].lower()}{spec.description[1:-1]}" for name, spec in specs.items()
        }
        assert {plain(name) for name, _, outcome in listed if outcome.startswith("the run")} == {
            name for name, spec in specs.items() if spec.blocking
        }


@pytest.mark.parametrize("table", [tables.RAW_EVENTS, tables.RAW_QUARANTINE, tables.DELIVERIES, tables.ODS_SESSIONS])
def test_the_columns_of_a_table_are_listed(table: tables.Table) -> None:
    """Names, types and meanings in their order, and the partition."""
    listed = TABLES.rows("column", "type", "meaning", after=f"## {table.name}\n")
    assert listed == [[f"`{column.name}`", column.sql_type, column.meaning] for column in table.columns]
    section = TABLES.text.split(f"## {table.name}\n", 1)[1].split("|", 1)[0]
    assert re.findall(r"Partitioned by `(\w+)`", section) == ([table.partition] if table.partition else [])


def test_the_layout_lists_every_module() -> None:
    listed = [plain(cell) for cell, _ in CONTRIBUTING.rows("module", "what is in it") if not cell.startswith("**")]
    modules = {str(path.relative_to(PROJECT)) for path in (PROJECT / "sessions_assets").rglob("[!_]*.py")}
    assert set(listed) ^ modules == set()
    assert len(listed) == len(modules)
