"""`make demo` as tests run it: in a folder of its own, which it leaves to them."""

import re
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from deltalake import DeltaTable

from sessions_assets_tests.pages import PROJECT, variables_read
from tools import demo


@dataclass(frozen=True)
class Demo:
    """A folder in which the demo has run with all defaults, and what it printed, without the seconds."""

    folder: Path
    printed: str

    def ods_version(self) -> int:
        """Return the version of ods_sessions."""
        return DeltaTable(str(self.folder / "lake" / "ods_sessions")).version()


def run_demo(folder: Path) -> Demo:
    """Run it, with the Spark session that is open."""
    shutil.copytree(PROJECT / "batches", folder / "batches")
    (folder / ".dagster_home").mkdir()
    shutil.copy(PROJECT / ".dagster_home" / "dagster.yaml", folder / ".dagster_home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DAGSTER_HOME", str(folder / ".dagster_home"))
        for name in variables_read():
            patch.delenv(name, raising=False)
        with redirect_stdout(StringIO()) as output:
            demo.main()
    return Demo(folder, re.sub(r"\(\d+ s\)", "(... s)", output.getvalue()))
