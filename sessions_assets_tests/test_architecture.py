"""The architecture: each module says what it is for. Which module may import which is checked by `make lint`."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
MODULES = sorted((PROJECT / "sessions_assets").rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_module_has_a_charter(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))
