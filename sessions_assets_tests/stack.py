"""The processes that a team runs: code server, web server and daemon, on free ports and in a folder of their own.

Started and ended here, and asked by GraphQL as the UI asks. Nothing of it is mocked.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from sessions_assets_tests.deployment import BATCHES
from sessions_assets_tests.operators import LOCATION, Operator, wait_for

PROJECT = Path(__file__).parent.parent
# Days of some hundred rows run no method often enough for the second stage of Java's compiler.
FOR_TINY_DATA = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"}


def free_port() -> int:
    """Find a port that is not in use now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def copy_instance(source: Path, target: Path) -> None:
    """Copy the settings of a Dagster instance, with shorter pauses between two looks at what there is to do."""
    settings = yaml.safe_load(source.read_text())
    queue = {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}
    settings["run_coordinator"] = {**queue, "config": {"dequeue_interval_seconds": 1}}
    settings["run_monitoring"] |= {"poll_interval_seconds": 2, "free_slots_after_run_end_seconds": 3}
    (target / "dagster.yaml").write_text(yaml.safe_dump(settings))


@contextmanager
def process(name: str, *command: str | Path, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a process in a group of its own, which ends with the context; what it says goes to a file of its name."""
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(  # noqa: S603 - our own commands
            [*command], cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            _end(started)


def _end(started: "subprocess.Popen[bytes]") -> None:
    """End a process and what it has started: asked first, then without asking."""
    for sign, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
        if started.poll() is None:
            os.killpg(started.pid, sign)
            try:
                started.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
    # Runs are processes of the code server's group; none is left to write into a folder that is gone.
    try:
        os.killpg(started.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Stack(Operator):
    """A running stack.

    Args:
        folder: of its landing, lake, Dagster home and logs.
        settings: environment variables beside those of landing and lake.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.settings = settings
        self.folder, self.landing, self.lake = folder, folder / "landing", folder / "lake"
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")

    @contextmanager
    def running(self) -> Iterator["Stack"]:
        """Start all processes, wait until the assets are served, and end them."""
        home = self.folder / "dagster_home"
        home.mkdir(parents=True)
        self.landing.mkdir()
        copy_instance(PROJECT / ".dagster_home" / "dagster.yaml", home)
        code_port = free_port()
        workspace = self.folder / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - grpc_server:\n      host: 127.0.0.1\n      port: {code_port}\n"
            f"      location_name: {LOCATION}\n"
        )
        environment = os.environ | {
            "DAGSTER_HOME": str(home),
            "SESSIONS_LANDING": str(self.landing),
            "SESSIONS_LAKE": str(self.lake),
            **FOR_TINY_DATA,
            **self.settings,
        }
        python, port = Path(sys.executable), str(code_port)
        self._set_pool_limit(environment)
        with ExitStack() as started:

            def start(name: str, *command: str | Path) -> None:
                started.enter_context(process(name, *command, folder=self.folder, environment=environment))

            start("code", python, "-m", "dagster", "api", "grpc", "-m", "sessions_assets.definitions", "-p", port)
            wait_for("code server", lambda: _answers(code_port))
            web = python.parent / "dagster-webserver"
            start("web", web, "-w", workspace, "-h", "127.0.0.1", "-p", str(self.port))
            start("daemon", python, "-m", "sessions_assets_tests.quick_daemon", "run", "-w", workspace)
            wait_for("web server", self.serves_the_assets)
            yield self

    def _set_pool_limit(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "dagster", "instance", "concurrency", "set", "ods_sessions", "1"]
        subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603 - our own command

    def deliver(self, *names: str) -> None:
        """Put batches of the sample, files or folders, into the landing."""
        for name in names:
            if (BATCHES / name).is_dir():
                shutil.copytree(BATCHES / name, self.landing / name, dirs_exist_ok=True)
            else:
                shutil.copy(BATCHES / name, self.landing)


def _answers(port: int) -> bool | None:
    with socket.socket() as one:
        return True if one.connect_ex(("127.0.0.1", port)) == 0 else None
