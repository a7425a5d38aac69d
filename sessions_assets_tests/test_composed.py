"""The stack of docker-compose.yml: batches in a bucket become sessions on a cluster, whatever stops meanwhile.

The tests are chapters of one story on one stack, in their order. Each brings more days of the sample, and one of them
a fault; in the end the tables are those of an undisturbed run in a local folder.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
import s3fs
import yaml
from deltalake import DeltaTable, QueryBuilder

from sessions_assets_tests.composed import KEYS, PROJECT, SECRETS, Composed, example_environment, read_compose
from sessions_assets_tests.deployment import BATCHES, DAYS, Deployment
from sessions_assets_tests.operators import ENDED, Run, wait_for
from sessions_assets_tests.tables import stored_rows

pytestmark = pytest.mark.stack

BOTH = ("raw_events", "ods_sessions")

Faults = dict[str, Callable[["Team"], None]]
"""What happens at the end of which phase of a run."""
WRITTEN = "write raw_events"


class Team:
    """Who operates the stack: puts batches into the bucket, starts runs, looks at the tables."""

    def __init__(self, stack: Composed) -> None:
        self.stack = stack
        self.files = s3fs.S3FileSystem(**stack.store.for_fsspec("s3://"), skip_instance_cache=True)

    def deliver(self, days: list[date]) -> None:
        """Put batches of the sample into the bucket."""
        for path in sorted(BATCHES.iterdir()):
            if any(path.name.startswith(str(day)) for day in days):
                self.files.put(str(path), f"sessions/batches/{path.name}", recursive=path.is_dir())

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Read a table without a JVM."""
        address = f"s3://sessions/lake/{table}"
        opened = DeltaTable(address, storage_options=self.stack.store.for_delta(address))
        found = QueryBuilder().register("found", opened).execute("SELECT * FROM found").read_all()
        return list(found.to_struct_array().to_pylist())

    def start(self, first: date, last: date) -> str:
        """Deliver days and start one run of both assets over them."""
        self.deliver([day for day in DAYS if first <= day <= last])
        return self.stack.launch("__ASSET_JOB", assets=BOTH, span=(first, last))

    def until(self, run: str, phase: str) -> None:
        """Wait until a run has told the end of a phase."""

        def look() -> bool | None:
            assert next(found for found in self.stack.runs() if found.id == run).status not in ENDED
            return True if any(line.startswith(f"{phase}:") for line in self.stack.said(run)) else None

        wait_for(f"{phase} of run {run}", look)

    def outcome(self, span: tuple[date, date]) -> Run:
        """Wait until the newest run of these days has ended, and no run is left started."""

        def look() -> Run | None:
            try:
                runs = self.stack.runs()
            except (requests.ConnectionError, AssertionError):
                return None  # Postgres or the web server are just being restarted
            newest = [run for run in runs if run.days == f"{span[0]}...{span[1]}"][-1]
            retried = newest.status == "FAILURE" and time.monotonic() < patience
            return None if retried or any(run.status not in ENDED for run in runs) else newest

        patience = time.monotonic() + 90
        return wait_for(f"outcome of {span[0]}...{span[1]}", look, 420)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in KEYS.items():
            environment.setenv(name, value)
        # Two workers on one small machine.
        small = {"SPARK_EXECUTOR_MEMORY": "900m", "SPARK_WORKER_MEMORY": "1g", "SPARK_EXECUTOR_CORES": "1"}
        with Composed(tmp_path_factory.mktemp("composed"), **small, SPARK_WORKER_CORES="1").running() as stack:
            yield Team(stack)


def test_the_file_is_one_that_compose_takes(tmp_path: Path) -> None:
    """The checker of the Compose Specification, with every variable in its place."""
    file = tmp_path / "docker-compose.yml"
    file.write_text(yaml.safe_dump(read_compose(example_environment())))
    done = subprocess.run(  # noqa: S603 - our own file
        [PROJECT / ".tools" / "compose", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_batches_in_a_bucket_become_sessions(team: Team) -> None:
    """The sensor finds them; the run has its executors on both workers."""
    team.deliver(DAYS[:4])
    team.stack.turn("new_batches", on=True)
    asked = wait_for("run of the sensor", lambda: team.stack.runs() or None)
    team.stack.turn("new_batches", on=False)
    team.until(asked[0].id, "read")
    commands = [path.read_bytes().decode(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline")]
    executors = [command for command in commands if "CoarseGrainedExecutorBackend" in command and "-Xmx" in command]
    assert executors
    assert all("-Xmx900M" in command and "--cores\0001\000" in command for command in executors)
    assert [command for command in commands if any(secret in command for secret in SECRETS.values())] == []
    run = team.stack.ended_run(asked[0].id)
    assert (run.status, run.days, len(asked)) == ("SUCCESS", "2025-03-10...2025-03-13", 1)
    assert len(team.rows("ods_sessions")) > 3000
    for worker in team.stack.names_of("spark-worker"):
        assert "Asked to launch executor" in team.stack.log_of(worker)


def stop_the_store(team: Team) -> None:
    """Twenty seconds without MinIO."""
    team.stack.kill("minio")
    time.sleep(20)
    team.stack.start("minio")


def lose_a_worker(team: Team) -> None:
    """One of two, with its executors and what they have kept; it does not come back in this run."""
    team.stack.kill("spark-worker-0")


def lose_all_workers(team: Team) -> None:
    """And have them back after twenty seconds."""
    for worker in team.stack.names_of("spark-worker"):
        if worker in team.stack.alive():
            team.stack.kill(worker)
    time.sleep(20)
    team.stack.start("spark-worker")


def restart_postgres(team: Team) -> None:
    """A crash, and its recovery."""
    team.stack.kill("postgres")
    team.stack.start("postgres")


def lose_the_code_server(team: Team) -> None:
    """With the run, which is its process."""
    team.stack.kill("code")
    team.stack.start("code")


@pytest.mark.parametrize(
    ("first", "last", "faults"),
    [
        pytest.param(4, 5, {WRITTEN: stop_the_store, "read": restart_postgres}, id="MinIO, then Postgres"),
        pytest.param(6, 8, {WRITTEN: lose_all_workers, "compute": lose_a_worker}, id="all workers, then one"),
        pytest.param(9, 11, {"read": lose_the_code_server}, id="the code server"),
    ],
)
def test_a_run_that_was_disturbed_ends(first: int, last: int, faults: Faults, team: Team) -> None:
    """By itself, or by being marked as failed and started again; nothing is left started."""
    run = team.start(DAYS[first], DAYS[last])
    for phase, fault in faults.items():
        team.until(run, phase)
        fault(team)
    ended = team.outcome((DAYS[first], DAYS[last]))
    assert ended.status == "SUCCESS", team.stack.said(ended.id)
    assert (ended.id == run) == (lose_the_code_server not in faults.values())


def test_a_backfill_outlives_the_daemon(team: Team) -> None:
    team.deliver(DAYS[12:])
    backfill = team.stack.backfill(BOTH, DAYS[12:])
    wait_for("first run of the backfill", lambda: team.stack.runs(backfill) or None)
    team.stack.kill("daemon")
    time.sleep(5)
    team.stack.start("daemon")
    assert team.stack.ended_backfill(backfill) == "COMPLETED_SUCCESS"


def test_the_tables_are_those_of_a_local_run(team: Team, sample: Deployment) -> None:
    """Row by row, after all that has happened."""
    local = [row._asdict() for row in stored_rows(sample.lake)]

    def sorted_rows(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
        return sorted(tuple(str(value).removesuffix("+00:00") for value in row.values()) for row in rows)

    assert sorted_rows(team.rows("ods_sessions")) == sorted_rows(local)
    assert [run for run in team.stack.runs() if run.status not in ENDED] == []


def test_no_secret_was_seen(team: Team) -> None:
    """Not in what any process has said, in the logs of runs, in Postgres, on a page of Spark or of Dagster."""
    stack = team.stack
    texts = {path.name: path.read_text(errors="replace") for path in stack.folder.glob("*.log")}
    texts |= {str(path): path.read_text(errors="replace") for path in stack.home.glob("compute_logs/**/*.err")}
    dump = ["pg_dump", "-h", "127.0.0.1", "-p", str(stack.ports["5432"]), "-U", "dagster", "dagster"]
    environment = stack.environment_of("postgres") | {"PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}
    texts["Postgres"] = subprocess.run(  # noqa: S603 - our own command
        dump, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "STEP_SUCCESS" in texts["Postgres"]
    for page in ("", "json/"):
        texts[f"master {page}"] = requests.get(f"http://127.0.0.1:{stack.ports['8080']}/{page}", timeout=10).text
    shown = "{ instance { info } runsOrError { ... on Runs { results { runConfigYaml } } } }"
    texts["instance"] = str(stack.ask(shown))
    assert len(texts) > 12
    assert {name for name, text in texts.items() if any(secret in text for secret in SECRETS.values())} == set()
