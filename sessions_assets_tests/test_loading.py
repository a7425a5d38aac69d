"""Loading the definitions: what they must not import, and where Dagster's undocumented names may stand."""

import ast
import os
from pathlib import Path

import pytest

from sessions_assets_tests.processes import python

PROJECT = Path(__file__).parent.parent
# Charts, S3, and what only tests read tables with. Each takes a tenth of a second or more.
ONLY_FOR_RUNS = [
    "PIL", "aiobotocore", "boto3", "botocore", "duckdb", "matplotlib", "numpy", "pandas", "polars", "pyarrow", "s3fs",
]  # fmt: skip
INTERNALS = PROJECT / "sessions_assets" / "dagster" / "internals.py"
MODULES = [*(PROJECT / "sessions_assets").rglob("*.py"), *(PROJECT / "tools").rglob("*.py")]


def test_loading_the_definitions_imports_nothing_that_only_a_run_needs(tmp_path: Path) -> None:
    """In a process of its own, as `dagster` and the code server load them; Spark's JVM is not started either."""
    program = f"""
import sys
import sessions_assets.definitions
import pyspark
assert pyspark.SparkContext._gateway is None
print(sorted(set({ONLY_FOR_RUNS}) & {{name.split(".")[0] for name in sys.modules}}))
"""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    assert python("-c", program, cwd=tmp_path, environment=environment).strip() == "[]"


def undocumented(module: Path) -> list[str]:
    """Return the modules of Dagster with an underscore that a module imports."""
    nodes = [*ast.walk(ast.parse(module.read_text()))]
    names = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    parts = [name.split(".") for name in names]
    return [".".join(p) for p in parts if p[0].startswith("dagster") and any(part.startswith("_") for part in p)]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_undocumented_names_of_dagster_stand_in_one_module(module: Path) -> None:
    assert bool(undocumented(module)) == (module == INTERNALS)
