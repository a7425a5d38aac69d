"""Real MinIO: no commit is lost or taken for another's, and a store that cannot be used is one error in time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import s3fs
from deltalake import DeltaTable, Field, QueryBuilder, Schema

from sessions_assets_tests.composed import KEYS, PROJECT, Composed
from sessions_assets_tests.lossy_proxy import LossyProxy
from sessions_assets_tests.operators import wait_for
from sessions_assets_tests.processes import python
from sessions_assets_tests.stack import FOR_TINY_DATA

pytestmark = pytest.mark.stack

COMMITS = 50
COLUMNS = Schema([Field("part", "string"), Field("number", "integer")])  # type: ignore[arg-type]
LOG_ENTRY = r"/_delta_log/\d{20}\.json$"
LANDING_A_DAY = """
import os
from datetime import UTC, date, datetime
from sessions_assets.lake.ledger import Entry, Ledger
from sessions_assets.storage import Storage

day = date(2025, 3, 10)
options = Storage(os.environ["AWS_ENDPOINT_URL"]).for_delta("s3://")
ledger = Ledger("s3://lake/ledger/deliveries", options)
before = Entry(day, "2025-03-10.csv", "as it was", 3, 2, 1, datetime(2025, 3, 10, 6, tzinfo=UTC))
ledger.record([before])
landing = Entry(day, "2025-03-10.csv", "delivered again", 4, 4, 0, datetime(2025, 3, 10, 7, tzinfo=UTC))
known = ledger.begin([landing])
assert ledger.entries()[day].landed_at is None
ledger.take_back([day], known)
assert known == {day: before}, known
assert ledger.entries() == {day: before}, ledger.entries()
"""


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with (
        pytest.MonkeyPatch.context() as environment,
        Composed(tmp_path_factory.mktemp("minio")).running(only=("minio",)) as stack,
    ):
        for name, value in (KEYS | FOR_TINY_DATA | {"AWS_ENDPOINT_URL": str(stack.store.endpoint)}).items():
            environment.setenv(name, value)
        s3fs.S3FileSystem(**stack.store.for_fsspec("s3://"), skip_instance_cache=True).mkdir("lake")
        yield stack


def proxied(minio: Composed, lost: str, times: int = 1, before: Callable[[str], object] = lambda _: None) -> LossyProxy:
    """Return a proxy in front of the store."""
    return LossyProxy(str(minio.store.endpoint).removeprefix("http://"), lost, times, before)


def materialize(folder: Path, **settings: str) -> None:
    """Land and apply the first day of the sample by Dagster's command."""
    environment = os.environ | {"SESSIONS_LAKE": "s3://lake/lake", "DAGSTER_HOME": str(folder)} | settings
    command = ("asset", "materialize", "-m", "sessions_assets.definitions", "--select", "raw_events,ods_sessions")
    python("-m", "dagster", *command, "--partition", "2025-03-10", cwd=PROJECT, environment=environment)


def commit(folder: Path, address: str, endpoint: str, *settings: str) -> None:
    """Append one row in each of three commits."""
    (folder / "go").touch()
    program: tuple[str | Path, ...] = ("-m", "sessions_assets_tests.committing", address, "a", "3", folder, *settings)
    python(*program, cwd=PROJECT, environment=os.environ | {"AWS_ENDPOINT_URL": endpoint})


def shown_by(address: str) -> str:
    """Give all that the pages of a Spark driver show of its settings."""
    (application,) = requests.get(f"{address}/api/v1/applications", timeout=30).json()
    paths = ("environment/", f"api/v1/applications/{application['id']}/environment")
    return "".join(requests.get(f"{address}/{path}", timeout=30).text for path in paths)


def test_two_drivers_lose_no_commit(minio: Composed, tmp_path: Path) -> None:
    """Each entry of the log is a PUT that must not find one there; the pages of Spark show no key."""
    address, options = "s3://lake/race", minio.store.for_delta("s3://lake/race")
    DeltaTable.create(address, COLUMNS, storage_options=options)
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


def test_commits_whose_answers_are_lost_are_no_conflicts(minio: Composed, tmp_path: Path) -> None:
    """Every commit of Spark in one day finds its own entry; delta-rs repeats its write of the ledger."""
    lost = r"(raw_events|raw_quarantine|ods_sessions)/_delta_log/\d{20}\.json$|deliveries/_delta_log/0+1\.json$"
    with proxied(minio, lost).running() as proxy:
        materialize(tmp_path, SESSIONS_LAKE="s3://lake/lost", AWS_ENDPOINT_URL=proxy.endpoint)
    assert {tuple(answers) for answers in proxy.answers.values()} == {(200, 412)}
    options = minio.store.for_delta("s3://lake/lost")
    tables = {
        name: DeltaTable(f"s3://lake/lost/{name}", storage_options=options) for name in ("raw_events", "ods_sessions")
    }
    assert {name: table.version() for name, table in tables.items()} == {"raw_events": 1, "ods_sessions": 1}
    counted = "SELECT count(*), count(landed_at), count(applied_at) FROM ledger"
    ledger = DeltaTable("s3://lake/lost/deliveries", storage_options=options)
    found = QueryBuilder().register("ledger", ledger).execute(counted).read_all()
    assert [found.column(number).to_pylist() for number in range(3)] == [[1], [1], [1]]


def test_an_entry_of_another_driver_is_a_conflict(minio: Composed, tmp_path: Path) -> None:
    """Another driver commits in the moment before the PUT of ods_sessions, whose answers are lost, too."""
    address, options = "s3://lake/overtaken/ods_sessions", minio.store.for_delta("s3://lake/overtaken")

    def overtake(_: str) -> None:
        table = DeltaTable(address, storage_options=options)
        table.alter.set_table_properties({"delta.logRetentionDuration": "interval 60 days"})

    with (
        proxied(minio, r"/ods_sessions/_delta_log/0+1\.json$", before=overtake).running() as proxy,
        pytest.raises(AssertionError, match=f"another run has written {address} since version 0"),
    ):
        materialize(tmp_path, SESSIONS_LAKE="s3://lake/overtaken", AWS_ENDPOINT_URL=proxy.endpoint)
    assert [*proxy.answers.values()] == [[412, 412]]
    assert DeltaTable(address, storage_options=options).version() == 1


def test_a_commit_is_found_when_no_try_got_an_answer(minio: Composed, tmp_path: Path) -> None:
    """S3A fails after its second try; the entry is there, so the commit has succeeded."""
    address, options = "s3://lake/unanswered", minio.store.for_delta("s3://lake/unanswered")
    DeltaTable.create(address, COLUMNS, storage_options=options)
    with proxied(minio, LOG_ENTRY, times=100).running() as proxy:
        settings = ("spark.hadoop.fs.s3a.attempts.maximum=1", "spark.hadoop.fs.s3a.retry.limit=0")
        commit(tmp_path, address, proxy.endpoint, *settings)
    assert {tuple(answers) for answers in proxy.answers.values()} == {(200, 412)}
    table = DeltaTable(address, storage_options=options)
    found = QueryBuilder().register("found", table).execute("SELECT number FROM found ORDER BY 1").read_all()
    assert [table.version(), *found.column("number").to_pylist()] == [3, 0, 1, 2]


def test_the_ledger_is_not_misled_by_a_lost_answer(minio: Composed) -> None:
    """delta-rs takes its own entry for another's and writes once more; what was known before is still given back."""
    # The first commits make the table and the row of the day; the third begins the landing.
    with proxied(minio, r"/_delta_log/0+2\.json$").running() as proxy:
        python("-c", LANDING_A_DAY, cwd=PROJECT, environment=os.environ | {"AWS_ENDPOINT_URL": proxy.endpoint})
    assert [*proxy.answers.values()] == [[200, 412]]


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
    started = time.monotonic()
    with pytest.raises(AssertionError) as raised:
        materialize(tmp_path, **given)
    assert time.monotonic() - started < 30
    bucket = given.get("SESSIONS_LAKE", "s3://lake").split("/")[2]
    endpoint = given.get("AWS_ENDPOINT_URL", minio.store.endpoint)
    assert f"bucket {bucket} at endpoint {endpoint} cannot be used" in str(raised.value)
    assert reason in str(raised.value)
    assert minio.alive() == {"minio"}
