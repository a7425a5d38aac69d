"""The commands on the pages parse, and name targets, modules, services, assets, jobs and partitions that exist."""

import json
import re

import click
import dagster as dg
import pytest
import yaml
from dagster._cli import create_dagster_cli

from sessions_assets.definitions import build_definitions
from sessions_assets.settings import Settings
from sessions_assets_tests.pages import PROJECT, Page, dagster_commands, pages, variables_read

DEPLOYMENT = Page("docs/deployment.md")
MAKEFILE = (PROJECT / "Makefile").read_text()
SHELL_COMMANDS = {"make", "dagster", "source", "export", "cp", "docker", "python"}


def test_shell_blocks_contain_known_commands_only() -> None:
    """A command of another kind would not be covered by any test."""
    words_of_lines = [words for page in pages() for words in page.commands()]
    assert {next(word for word in words if not re.match(r"[A-Z_]+=", word)) for words in words_of_lines} == (
        SHELL_COMMANDS
    )


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_make_target_is_in_the_makefile(page: Page) -> None:
    calls = [words for words in page.commands() if words[0] == "make"]
    inline = [text.split() for text in re.findall(r"`(make [^`]+)`", page.text)]
    used = {word for words in (*calls, *inline) for word in words[1:] if "=" not in word}
    variables = {word.split("=")[0] for words in (*calls, *inline) for word in words[1:] if "=" in word}
    assert used - set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE)) == set()
    assert variables - set(re.findall(r"^(\w+) \?=", MAKEFILE, re.MULTILINE)) == set()


def test_every_make_target_is_documented() -> None:
    used = {words[1] for page in pages() for words in page.commands() if words[0] == "make"}
    assert set(re.findall(r"^(test[a-z-]*|lint|lock|clean|demo|ui|bench[a-z-]*):.*## ", MAKEFILE, re.MULTILINE)) <= used


def test_python_commands_name_modules_and_files_that_exist() -> None:
    for words in (words for page in pages() for words in page.commands() if words[0] == "python"):
        assert words[1] == "-m"
        assert (PROJECT / f"{words[2].replace('.', '/')}.py").is_file()


def test_the_commands_of_compose_name_what_exists() -> None:
    """Services, and the file that is copied; the services themselves are tested by the tests of the stack."""
    services = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    for words in DEPLOYMENT.commands():
        if words[0] == "cp":
            assert (PROJECT / words[1]).is_file()
        if words[0] == "docker":
            assert words[1:4] == ["compose", "up", "--build"]
            assert all(word.split("=")[0] in services for word in words[5:])
    ports = {port for service in services.values() for port in service.get("ports", [])}
    shown = {address.removeprefix("http://") for address, _ in DEPLOYMENT.rows("address", "service")}
    assert shown == {port.rpartition(":")[0] for port in ports}


def parsed(arguments: list[str]) -> click.Context:
    """Parse a Dagster command as Dagster does, without running it."""
    command: click.Command = create_dagster_cli()
    rest = list(arguments)
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    return command.make_context(command.name, rest)


def _in_one_line(part: str | dict[str, str] | list[str]) -> str:
    return part if isinstance(part, str) else " ".join(part)


@pytest.mark.parametrize(("page", "settings", "arguments"), dagster_commands(), ids=_in_one_line)
def test_every_dagster_command_parses_and_names_what_exists(
    page: str, settings: dict[str, str], arguments: list[str]
) -> None:
    """Options, module, assets, partitions, pool and variables."""
    context = parsed(arguments)
    assert settings.keys() <= set(variables_read()), page
    definitions = build_definitions(Settings.from_environment(settings))
    graph = definitions.resolve_asset_graph()
    if context.command.name == "materialize":
        module, names, days = (context.params[name] for name in ("module_name", "select", "partition"))
        assert module == "sessions_assets.definitions"
        assert names in {"raw_events,ods_sessions", "raw_events,ods_sessions,sessions", "sessions"}
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
    """The parser that the test above relies on refuses an unknown option."""
    with pytest.raises(click.UsageError):
        parsed(["asset", "materialize", "--select", "raw_events", "--partitions", "2025-03-15"])


def test_every_job_has_its_command() -> None:
    jobs = {job.name for job in build_definitions(Settings()).resolve_all_job_defs() if not job.name.startswith("__")}
    commands = [arguments for _, _, arguments in dagster_commands() if arguments[:2] == ["job", "execute"]]
    assert jobs - {"expect_arrival"} == {arguments[arguments.index("-j") + 1] for arguments in commands}
