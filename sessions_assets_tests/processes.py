"""How tests run Python in a process of its own, as a user would."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def python(*arguments: str | Path, cwd: Path, environment: Mapping[str, str]) -> str:
    """Run Python in a folder and give what it prints; a failure shows all that it said."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
