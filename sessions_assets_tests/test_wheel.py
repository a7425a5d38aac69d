"""The wheel works by itself: in another folder, without this one."""

import json
import os
from pathlib import Path

from sessions_assets_tests.processes import python

PROJECT = Path(__file__).parent.parent

PROGRAM = """
import json
from sessions_assets import definitions

keys = definitions.defs.resolve_asset_graph().get_all_asset_keys()
print(json.dumps({"file": definitions.__file__, "keys": [key.to_user_string() for key in keys]}))
"""


def _python(*arguments: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Run Python in a folder, with one more folder to import from, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return python(*arguments, cwd=cwd, environment=environment)


def test_wheel_gives_the_assets_in_a_folder_of_its_own(tmp_path: Path) -> None:
    dist, target, elsewhere = (tmp_path / name for name in ("dist", "target", "elsewhere"))
    elsewhere.mkdir()
    _python("-m", "build", "--wheel", "--no-isolation", "--outdir", dist, cwd=PROJECT)
    (wheel,) = dist.glob("*.whl")
    _python("-m", "pip", "install", "--no-index", "--no-deps", "--target", target, wheel, cwd=elsewhere)

    loaded = json.loads(_python("-c", PROGRAM, cwd=elsewhere, path=target).splitlines()[-1])

    assert Path(loaded["file"]).is_relative_to(target)
    assert {"raw_events", "ods_sessions"} <= set(loaded["keys"])
