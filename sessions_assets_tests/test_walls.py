"""The house: rooms import downwards only, each says what it is for, and none grows out of its walls."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sessions_assets"
# From the ground up: a room may import those before it.
ROOMS = (
    "progress",
    "events",
    "storage",
    "landing",
    "formats",
    "sessions",
    "origins",
    "violations",
    "tables",
    "snapshots",
    "ledger",
    "transactions",
    "merges",
    "numbers",
    "lake",
    "deliveries",
    "applications",
    "upkeep",
    "inspections",
    "previews",
    "pictures",
    "settings",
    "buckets",
    "resources",
    "runs",
    "metadata",
    "assets",
    "findings",
    "checks",
    "jobs",
    "sensors",
    "definitions",
    "launchers",
)
SHELL = {"runs", "metadata", "assets", "findings", "checks", "jobs", "sensors", "definitions", "launchers"}
KNOW_DAGSTER = {"resources", *SHELL}
KNOW_NO_SPARK = {
    "progress",
    "pictures",
    "storage",
    "landing",
    "tables",
    "ledger",
    "snapshots",
    "settings",
    "buckets",
    *SHELL,
}


def imports(room: str) -> set[str]:
    tree = ast.parse((PACKAGE / f"{room}.py").read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *[f"{node.module}.{alias.name}" for alias in node.names]}
    return names


def test_every_room_has_its_place() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*ROOMS, "__init__"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    above = set(ROOMS[ROOMS.index(room) :])
    assert not {name for name in imports(room) for up in above if name.startswith(f"sessions_assets.{up}")}


@pytest.mark.parametrize("room", ROOMS)
def test_only_the_shell_knows_dagster(room: str) -> None:
    knows = any(name.split(".")[0].startswith("dagster") for name in imports(room))
    assert knows == (room in KNOW_DAGSTER)


@pytest.mark.parametrize("room", ROOMS)
def test_some_rooms_know_no_spark(room: str) -> None:
    knows = any(name.split(".")[0] in {"pyspark", "delta"} for name in imports(room))
    assert not (knows and room in KNOW_NO_SPARK)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_charter(room: str) -> None:
    assert ast.get_docstring(ast.parse((PACKAGE / f"{room}.py").read_text()))


@pytest.mark.parametrize("room", ROOMS)
def test_only_the_settings_read_the_environment(room: str) -> None:
    reads = "os" in imports(room) or "environ[" in (PACKAGE / f"{room}.py").read_text()
    assert reads == (room == "settings")
