"""The page of the two logs: its files, settings, commands and answers are what the project reads, does and gives."""

import re
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sessions_assets.settings import Settings
from sessions_assets_tests.deployment import Deployment, metadata
from sessions_assets_tests.pages import Page, plain, variables_read
from tools.own_logs import write_logs

PAGE = Page("docs/your-own-log.md")
SECTIONS = {"shop": "## A web shop's export", "ide": "## The log of an IDE"}


def section_of(name: str) -> str:
    return PAGE.text.split(f"{SECTIONS[name]}\n", 1)[1].split("\n## ", 1)[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def exported(name: str) -> dict[str, str]:
    """Return the variables that a section sets."""
    (lines,) = [block for block in PAGE.code("bash") if f"own-logs/{name}" in block]
    page = Page(PAGE.name)
    page.__dict__["text"] = f"```bash\n{lines}```\n"
    words = [word for words in page.commands() if words[0] == "export" for word in words[1:]]
    return dict(word.split("=", 1) for word in words)


def test_the_logs_are_those_shown(tmp_path: Path) -> None:
    """The excerpts of the page are lines of the files, and the files are the same each time."""
    write_logs(tmp_path)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    write_logs(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == first
    files = {"shop": "shop/2025-03-10.csv", "ide": "ide/2025-10-26.jsonl"}
    for name, file in files.items():
        shown = blocks(section_of(name), "text")[0]
        assert (tmp_path / file).read_text().startswith(shown)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_log_becomes_sessions_by_settings_alone(
    name: str, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the variables of the page, its range is materialized, and its query prints the table below it."""
    monkeypatch.chdir(tmp_path)
    write_logs(Path("own-logs"))
    environment = exported(name)
    assert environment.keys() <= set(variables_read())
    settings = asdict(Settings.from_environment(environment))
    landing, lake = (tmp_path / settings.pop(folder) for folder in ("landing", "lake"))
    deployment = Deployment(spark, lake, landing, **settings)
    first, last = re.findall(r"--partition-range (\S+)\.\.\.(\S+)", section_of(name))[0]
    run = deployment.materialize(date.fromisoformat(first), date.fromisoformat(last), checks=True)
    assert run.success
    failed = [found for found in run.get_asset_check_evaluations() if not found.passed]
    assert {found.check_name for found in failed} <= {"window_complete", "late_share"}

    (program,) = blocks(section_of(name), "python")
    capsys.readouterr()
    exec(program, {})  # noqa: S102 - the page's own text
    assert capsys.readouterr().out.strip() == blocks(section_of(name), "text")[1].strip()
    if name == "ide":
        numbers = metadata(run, "raw_events")["2025-10-26"]
        listed = {plain(key): int(value) for key, value in PAGE.rows("number", "of 2025-10-26")}
        assert listed == {key: numbers[key] for key in numbers if key.startswith("local_times")}
