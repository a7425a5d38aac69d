"""Real MinIO: two drivers that commit to one table at once lose nothing, and what cannot be used is said at once."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import s3fs
from deltalake import DeltaTable, Field, QueryBuilder, Schema

from sessions_assets_tests.composed import KEYS, PROJECT, Composed
from sessions_assets_tests.operators import wait_for
from sessions_assets_tests.processes import python

pytestmark = pytest.mark.stack

COMMITS = 50


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with (
        pytest.MonkeyPatch.context() as environment,
        Composed(tmp_path_factory.mktemp("minio")).running(only=("minio",)) as stack,
    ):
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": str(stack.store.endpoint)}).items():
            environment.setenv(name, value)
        s3fs.S3FileSystem(**stack.store.for_fsspec("s3://"), skip_instance_cache=True).mkdir("lake")
        yield stack


def shown_by(address: str) -> str:
    """Give all that the pages of a Spark driver show of its settings."""
    (application,) = requests.get(f"{address}/api/v1/applications", timeout=30).json()
    paths = ("environment/", f"api/v1/applications/{application['id']}/environment")
    return "".join(requests.get(f"{address}/{path}", timeout=30).text for path in paths)


def test_two_drivers_lose_no_commit(minio: Composed, tmp_path: Path) -> None:
    """Each entry of the log is a PUT that must not find one there; the pages of Spark show no key."""
    address, options = "s3://lake/race", minio.store.for_delta("s3://lake/race")
    DeltaTable.create(address, Schema([Field("part", "string"), Field("number", "integer")]), storage_options=options)  # type: ignore[arg-type]
    with ExitStack() as ends:
        drivers = []
        for part in "ab":
            program = [sys.executable, "-m", "sessions_assets_tests.committing"]
            log = ends.enter_context((tmp_path / f"{part}.log").open("wb"))
            arguments = [*program, address, part, str(COMMITS), tmp_path]
            started = subprocess.Popen(arguments, cwd=PROJECT, stdout=log, stderr=log)  # noqa: S603 - our own text
            drivers.append(ends.enter_context(started))
            ends.callback(drivers[-1].kill)
        ready = [tmp_path / f"ready {part}" for part in "ab"]
        wait_for("two drivers", lambda: True if all(file.exists() and file.read_text() for file in ready) else None)
        pages = shown_by(ready[0].read_text())
        (tmp_path / "go").touch()
        ended = [driver.wait(timeout=400) for driver in drivers]
    assert ended == [0, 0], (tmp_path / "a.log").read_text()[-2000:]
    assert '"fs.s3a.secret.key", "*********(redacted)"' in pages
    assert not [value for value in KEYS.values() if value in pages]
    table = DeltaTable(address, storage_options=options)
    counted = "SELECT part, count(*), count(DISTINCT number) FROM found GROUP BY part ORDER BY part"
    found = QueryBuilder().register("found", table).execute(counted).read_all()
    assert [found.column(n).to_pylist() for n in range(3)] == [["a", "b"], [COMMITS] * 2, [COMMITS] * 2]
    assert table.version() == 2 * COMMITS


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "signature"),
        ({"SESSIONS_LAKE": "s3://nowhere/lake"}, "The specified bucket does not exist"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect to the endpoint"),
    ],
    ids=["wrong key", "no bucket", "no store"],
)
def test_what_cannot_be_used_is_one_error_in_time(
    given: dict[str, str], reason: str, minio: Composed, tmp_path: Path
) -> None:
    """From the command to its error, which names bucket and endpoint."""
    environment = os.environ | {"SESSIONS_LAKE": "s3://lake/lake", "DAGSTER_HOME": str(tmp_path)} | given
    command = ("asset", "materialize", "-m", "sessions_assets.definitions", "--select", "raw_events")
    started = time.monotonic()
    with pytest.raises(AssertionError) as raised:
        python("-m", "dagster", *command, "--partition", "2025-03-10", cwd=PROJECT, environment=environment)
    assert time.monotonic() - started < 30
    bucket = environment["SESSIONS_LAKE"].split("/")[2]
    endpoint = environment["AWS_ENDPOINT_URL"]
    assert f"bucket {bucket} at endpoint {endpoint} cannot be used" in str(raised.value)
    assert reason in str(raised.value)
    assert minio.alive() == {"minio"}
