"""The version of the code that decides rows: the same for another comment, another one for any other logic."""

import shutil
from pathlib import Path

import pytest

from sessions_assets.pipeline import code_version

PACKAGE = Path(__file__).parent.parent / "sessions_assets"
DECIDING = ("sessions_assets.pipeline.land", "sessions_assets.pipeline.apply")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, whose version is asked for."""
    monkeypatch.setattr(code_version, "_ROOT", tmp_path)
    return shutil.copytree(PACKAGE, tmp_path / "sessions_assets", ignore=shutil.ignore_patterns("__pycache__"))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_a_comment_a_docstring_and_a_line_break_change_nothing(package: Path) -> None:
    before = code_version.version_of(DECIDING)
    assert before == code_version.code_version()
    replace(package / "rule" / "sessions.py", "def session_id(", "# A comment.\n\n\ndef session_id(")
    changes = package / "rule" / "changes.py"
    changes.write_text(f'"""Another docstring."""\n{changes.read_text()}')
    assert code_version.version_of(DECIDING) == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("rule/sessions.py", "gap > timeout", "gap >= timeout"),
        ("rule/session_rule.py", "timedelta(microseconds=1)", "timedelta(microseconds=2)"),
        ("rule/events.py", "LATENESS_DAYS = 5", "LATENESS_DAYS = 6"),
        ("rule/changes.py", "can_change | seeds_a_session", "can_change"),
        ("landing/csv_files.py", '"PERMISSIVE"', '"DROPMALFORMED"'),
        ("landing/json_files.py", '"allowSingleQuotes": "false"', '"allowSingleQuotes": "true"'),
        ("landing/parquet_files.py", '"MILLIS": 1000', '"MILLIS": 100'),
        ("lake/ods.py", 'F.col("pdate") >= first', 'F.col("pdate") > first'),
        ("lake/spark.py", '"spark.sql.session.timeZone": "UTC"', '"spark.sql.session.timeZone": "CET"'),
        ("pipeline/compute.py", " - plan.rule.longest_timeout", ""),
        ("pipeline/apply.py", "stored[day] != entry.rows_accepted", "stored[day] == entry.rows_accepted"),
        ("pipeline/land.py", "is_new = not any(", "is_new = any("),
    ],
)
def test_another_logic_is_another_version(package: Path, module: str, old: str, new: str) -> None:
    before = code_version.version_of(DECIDING)
    replace(package / module, old, new)
    assert code_version.version_of(DECIDING) != before


def test_what_decides_no_row_has_no_say(package: Path) -> None:
    before = code_version.version_of(DECIDING)
    replace(package / "dagster" / "jobs.py", "ge=1", "ge=2")
    replace(package / "rule" / "violations.py", 'DUPLICATE = "one_row_per_event"', 'DUPLICATE = "duplicates"')
    assert code_version.version_of(DECIDING) == before
