"""A snapshot is of one version, whatever came after it."""

from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from sessions_assets.lake.lake import Lake
from sessions_assets.lake.tables import SESSIONS


def test_the_commits_of_an_older_version_are_its_own(tmp_path: Path) -> None:
    """Newest first, without those that came after it; delta-rs by itself returns the newest under other numbers."""
    lake = Lake(str(tmp_path))
    for number in range(4):
        notes = CommitProperties(custom_metadata={"noted": f"{number}"})
        write_deltalake(lake.path(SESSIONS), pa.table({"n": [number]}), mode="append", commit_properties=notes)
    for version in (None, 3, 1, 0):
        found = lake.snapshot(SESSIONS, version).commits(2)
        newest = 3 if version is None else version
        assert [(commit["version"], commit["noted"]) for commit in found] == [
            (number, str(number)) for number in (newest, newest - 1) if number >= 0
        ]
