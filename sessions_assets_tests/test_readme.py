"""The README is true: its commands run, its tables are those of the code, its links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sessions_assets import events
from sessions_assets.landing import FORMATS
from sessions_assets.resources import Settings
from sessions_assets_tests.reference import Event, session_id, sessionize

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
MATERIALIZE = [line[line.index("dagster asset") :] for line in COMMANDS if "dagster asset materialize" in line]


def rows_of_table(header: str) -> list[list[str]]:
    """Give the cells of the table that begins with this header."""
    lines = README[README.index(header) :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for line in COMMANDS if line.startswith("make ")}
    assert {"demo", "test", "ui"} <= named <= targets


def test_the_five_events_get_these_sessions() -> None:
    found = re.findall(r"^\| `(\d),(\w),(\w),([^`]+)` \| (?:`([^`]+)`|NULL) \|", README, re.MULTILINE)
    written = {Event(*row[:3], datetime.fromisoformat(row[3])): row[4] or None for row in found}
    starts = sessionize(written, timedelta(seconds=300), frozenset("abc"))
    assert len(written) == 5
    assert written == {
        row: None if start is None else session_id(row.user_id, row.product_code, start)
        for row, start in starts.items()
    }


def test_the_configuration_table_has_every_variable_with_its_default() -> None:
    defaults = {row[0].strip("`"): row[1].strip("`") for row in rows_of_table("| variable | default | meaning |")}
    source = (ROOT / "sessions_assets" / "resources.py").read_text()
    assert set(defaults) == set(re.findall(r'\("((?:SESSIONS|SPARK)_\w+)",', source))
    assert Settings.from_environment(defaults) == Settings.from_environment({})


def test_the_quarantine_table_has_every_reason() -> None:
    reasons = {row[0].strip("`") for row in rows_of_table("| reason | what it means | example |")}
    blank = {f"blank_{column}" for column in events.IDENTITY_COLUMNS}
    others = {events.INVALID_UTF8, events.UNPARSABLE_ROW, events.UNPARSABLE_TIMESTAMP, events.TOO_LATE, events.FUTURE}
    assert reasons == blank | others


def test_every_format_is_named() -> None:
    assert all(f"`D{suffix}`" in README for suffix in FORMATS)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_a_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


def test_every_materialization_names_both_assets_and_days() -> None:
    assert len(MATERIALIZE) > 2
    for command in MATERIALIZE:
        options = shlex.split(command)[3:]
        assert options[:4] == ["-m", "sessions_assets.definitions", "--select", "raw_events,ods_sessions"]
        assert re.fullmatch(
            r"--partition \d{4}-\d\d-\d\d|--partition-range \d{4}-\d\d-\d\d\.\.\.\d{4}-\d\d-\d\d", " ".join(options[4:])
        )


def test_the_command_for_one_day_and_the_example_that_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real command in a process of its own, on the sample batches, then the README's own lines on its lake."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    environment = os.environ | {"DAGSTER_HOME": str(home), "SESSIONS_LAKE": str(tmp_path / "lake")}
    one_day = shlex.split(next(command for command in MATERIALIZE if "--partition " in command))
    dagster = str(Path(sys.executable).parent / "dagster")
    run = subprocess.run(  # noqa: S603 - a command of our own README
        [dagster, *one_day[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    example = next(text for kind, text in BLOCKS if kind == "python" and "lake/ods_sessions" in text)
    exec(example.replace("lake/ods_sessions", str(tmp_path / "lake" / "ods_sessions")), {})  # noqa: S102 - our own
    assert "1#I#2025-03-15 10:08:00" in capsys.readouterr().out
