"""The stack of docker-compose.yml as processes of this machine: commands, environment and health checks are the file's.

No container engine is needed. What a container would give is replaced: hosts are this machine, ports are free ones,
folders are below one folder, and programs come from the environment that runs the tests or from `.tools`. Only the
pauses of Dagster's daemon are shorter than those of the file, and Java compiles in one stage.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from sessions_assets.storage import Storage
from sessions_assets_tests.operators import Operator, wait_for
from sessions_assets_tests.stack import FOR_TINY_DATA, copy_instance, free_port

PROJECT = Path(__file__).parent.parent
COMPOSE = PROJECT / "docker-compose.yml"
DOCKER = PROJECT / ".docker"
# The folder of the image that processes start in.
HOME = "/srv/sessions"

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def read_compose(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read the file as compose does: variables with their values or defaults.

    Raises:
        KeyError: a variable that must be set is not.
    """

    def value(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        if environment.get(name):
            return environment[name]
        if kind != "-":
            raise KeyError(name)
        return str(default)

    content: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(value, COMPOSE.read_text()))
    return content


SECRETS = {
    "MINIO_ROOT_USER": "user-5f0c9d",
    "MINIO_ROOT_PASSWORD": "minio-5f0c9d",
    "POSTGRES_PASSWORD": "postgres-5f0c9d",
}
"""The secrets that no page or log of the stack under test may show."""
KEYS = {"AWS_ACCESS_KEY_ID": SECRETS["MINIO_ROOT_USER"], "AWS_SECRET_ACCESS_KEY": SECRETS["MINIO_ROOT_PASSWORD"]}


def example_environment() -> dict[str, str]:
    """Read .env.example."""
    lines = (PROJECT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


class Composed(Operator):
    """All services of the file, each a process group of its own.

    Args:
        folder: of everything that the services write.
        workers: how many Spark workers.
        settings: variables in the place of those of .env.example.
    """

    def __init__(self, folder: Path, workers: int = 2, **settings: str) -> None:
        self.folder, self.workers = folder, workers
        self.environment = example_environment() | SECRETS | settings
        self.services: dict[str, Any] = read_compose(self.environment)["services"]
        self.ports = {port: free_port() for port in _ports(COMPOSE.read_text())}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.home = folder / "home"
        self.store = Storage(f"http://127.0.0.1:{self.ports['9000']}")
        super().__init__(f"http://127.0.0.1:{self.ports['3000']}")

    # --- What a container would be

    def _here(self, text: str) -> str:
        """Return a text of the file with the folders, hosts and ports of this machine."""
        text = text.replace(HOME, str(self.home)).replace("/data", str(self.folder / "minio"))
        text = text.replace("/tmp/work", str(self.folder / "work"))  # noqa: S108 - a folder of the image
        hosts = "|".join(map(re.escape, sorted(self.services, key=len, reverse=True)))
        text = re.sub(rf"(?<![\w-])({hosts})(?=:\d)", "127.0.0.1", text)
        if text in self.services or text == "0.0.0.0":  # noqa: S104 - replaced by this machine alone
            return "127.0.0.1"
        text = re.sub(r"^(?=:\d)", "127.0.0.1", text)
        return re.sub(rf"\b({'|'.join(self.ports)})\b", lambda found: str(self.ports[found[0]]), text)

    def environment_of(self, service: str) -> dict[str, str]:
        """Return the environment of a service; from this process only what is needed to find programs."""
        given = self.services[service].get("environment", {})
        path = [str(Path(sys.executable).parent), str(PROJECT / ".tools"), *_postgres_programs(), os.defpath]
        inherited = FOR_TINY_DATA | {
            name: os.environ[name] for name in ("HOME", "JAVA_HOME", "LANG") if name in os.environ
        }
        own = {name: self._here(str(value)) for name, value in given.items()}
        # In the image the package is installed.
        return inherited | {"PATH": os.pathsep.join(path), "PYTHONPATH": str(PROJECT), **own}

    def command_of(self, service: str) -> list[str]:
        """Return the command of a service."""
        if service == "postgres":
            return self._postgres()
        command = self.services[service]["command"]
        words = shlex.split(command) if isinstance(command, str) else command
        return [self._here(word) if word != service or number else word for number, word in enumerate(words)]

    def _postgres(self) -> list[str]:
        """Do what the official image does at its start: make the cluster and the database once, then serve."""
        data, port = self.folder / "postgres", str(self.ports["5432"])
        given = self.environment_of("postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if not data.exists():
            data.mkdir()
            password = self.folder / "password"
            password.write_text(given["POSTGRES_PASSWORD"])
            if as_user:
                for path in (data, password):
                    shutil.chown(path, "postgres", "postgres")
            made = [*as_user, "initdb", "-D", data, "-U", given["POSTGRES_USER"], "-A", "scram-sha-256"]
            subprocess.run(  # noqa: S603 - our own command
                [*made, f"--pwfile={password}"], env=given, cwd=data, check=True, capture_output=True
            )
            lines = f"CREATE DATABASE {given['POSTGRES_DB']}\n"
            single = [*as_user, "postgres", "--single", "-D", data, "postgres"]
            subprocess.run(  # noqa: S603 - our own command
                single, env=given, cwd=data, input=lines, text=True, check=True, capture_output=True
            )
        return [*as_user, "postgres", "-D", str(data), "-h", "127.0.0.1", "-p", port, "-k", str(data)]

    # --- What compose does

    @contextmanager
    def running(self, only: Collection[str] = ()) -> Iterator["Composed"]:
        """Start all services, or some, in their order, each once those it depends on are as it asks; end them all."""
        for folder in (self.home / "dagster_home", self.home / "compute_logs", self.folder / "minio"):
            folder.mkdir(parents=True)
        # Postgres runs as a user of its own, who must be let in.
        for folder in (self.folder, *self.folder.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
        (self.home / "jars").symlink_to(PROJECT / "jars")
        copy_instance(DOCKER / "dagster.yaml", self.home / "dagster_home")
        workspace = (DOCKER / "workspace.yaml").read_text()
        workspace = workspace.replace("host: code", "host: 127.0.0.1").replace("4000", str(self.ports["4000"]))
        (self.home / "workspace.yaml").write_text(workspace)
        try:
            for service in self._in_order():
                if service in (only or self.services):
                    self.start(service)
            if not only:
                wait_for("web server", self.serves_the_assets)
            yield self
        finally:
            for name in reversed([*self._running]):
                self.kill(name)

    def _in_order(self) -> list[str]:
        order: list[str] = []
        while len(order) < len(self.services):
            order += [
                name
                for name, service in self.services.items()
                if name not in order and set(service.get("depends_on", {})) <= set(order)
            ]
        return order

    def names_of(self, service: str) -> list[str]:
        """Name the processes of a service; a worker has a number."""
        return [f"{service}-{n}" for n in range(self.workers)] if service == "spark-worker" else [service]

    def start(self, service: str) -> None:
        """Start a service, and wait until it is healthy or, if others wait for its end, has ended well."""
        for name in self.names_of(service):
            self.start_one(name, service)
        ends = any(
            other.get("depends_on", {}).get(service, {}).get("condition") == "service_completed_successfully"
            for other in self.services.values()
        )
        if ends:
            code = self._running.pop(service).wait(120)
            assert code == 0, (self.folder / f"{service}.log").read_text()
        elif "healthcheck" in self.services[service]:
            self.wait_until_healthy(service)

    def start_one(self, name: str, service: str) -> None:
        """Start one process of a service."""
        command = self.command_of(service)
        if service == "spark-worker":
            # Each container has its own network, where all can have the same port.
            command = [str(free_port()) if word == str(self.ports["8081"]) else word for word in command]
        environment = self.environment_of(service)
        program = shutil.which(command[0], path=environment["PATH"])
        assert program, f"{command[0]} is not there: make tools"
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - the commands of the file
                [program, *command[1:]], cwd=self.home, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_healthy(self, service: str) -> None:
        """Ask the health check of the file until it is content."""
        _, *words = self.services[service]["healthcheck"]["test"]
        check = [self._here(word) for word in words]

        def look() -> bool | None:
            asked = subprocess.run(  # noqa: S603 - the commands of the file
                check, env=self.environment_of(service), cwd=self.home, capture_output=True, check=False
            )
            return True if asked.returncode == 0 else None

        wait_for(f"health of {service}", look)

    def kill(self, name: str) -> None:
        """End a process at once, and all that it has started."""
        started = self._running.pop(name)
        try:
            os.killpg(started.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        started.wait(20)

    def alive(self) -> set[str]:
        """Name the processes that have been started and not killed."""
        return {*self._running}

    def log_of(self, name: str) -> str:
        """Return the output of a process."""
        return (self.folder / f"{name}.log").read_text(errors="replace")


def _ports(text: str) -> list[str]:
    """Find the ports of the file: all its numbers of four digits from 3000 on, but no memory, version or day."""
    return sorted(set(re.findall(r"(?<![\w.-])(?:3000|4000|5432|7077|808[01]|900[01])(?!\w)", text)))


def _postgres_programs() -> list[str]:
    return [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
