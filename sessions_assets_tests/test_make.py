"""The Makefile installs what is missing of the system if it may, and asks for it in one sentence if not.

Programs of the system are stand-ins here, which a test puts on the PATH.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
ASKS_FOR_JAVA = (
    "Spark needs Java 17 on the PATH or in JAVA_HOME: install it (Debian: apt-get install openjdk-17-jre-headless)"
)
JAVA = """#!/bin/sh
echo 'openjdk version "{}.0.1"' >&2
"""
APT_GET = """#!/bin/sh
echo "apt-get $@"
[ "$2" = update ] || cp "$PROGRAMS/offered" "$PROGRAMS/java"
"""
SUDO = """#!/bin/sh
[ "$1" = -n ] && shift && exec "$@"
"""
PYTHON_WITHOUT_VENV = f"""#!/bin/sh
case "$2" in *ensurepip*) exit 1;; *) exec {sys.executable} "$@";; esac
"""


class Machine:
    """A folder that is the whole PATH: the usual small tools, and the programs of the test's choice."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in ("cp", "env", "sed", "sh", "true"):
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.has("offered", JAVA.format(17))
        self.is_user(1000)

    def has(self, program: str, text: str) -> None:
        """Put a program on the PATH."""
        (self.bin / program).write_text(text)
        (self.bin / program).chmod(0o755)

    def is_user(self, number: int) -> None:
        """Choose who runs it; 0 is root."""
        self.has("id", f"#!/bin/sh\necho {number}\n")

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make with this PATH."""
        command = [str(shutil.which("make")), "--no-print-directory", *arguments]
        environment = {"PATH": str(self.bin), "PROGRAMS": str(self.bin)}
        return subprocess.run(  # noqa: S603 - our own Makefile
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only line of an error beside make's own."""
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    return line


def test_java_that_is_there_is_taken(machine: Machine) -> None:
    machine.has("java", JAVA.format(21))
    done = machine.make("java")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("found", [None, 11], ids=["none", "Java 11"])
def test_java_is_asked_for_where_there_is_no_apt(found: int | None, machine: Machine) -> None:
    if found:
        machine.has("java", JAVA.format(found))
    assert said(machine.make("java")) == ASKS_FOR_JAVA


def test_java_is_asked_for_where_sudo_wants_a_password(machine: Machine) -> None:
    machine.has("apt-get", APT_GET)
    machine.has("sudo", "#!/bin/sh\nexit 1\n")
    assert said(machine.make("java")) == ASKS_FOR_JAVA


@pytest.mark.parametrize("user", [0, 1000], ids=["root", "sudo without a password"])
def test_java_is_installed_by_who_may(user: int, machine: Machine) -> None:
    machine.is_user(user)
    machine.has("apt-get", APT_GET)
    if user:
        machine.has("sudo", SUDO)
    done = machine.make("java")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "openjdk-17-jre-headless is missing, installing it",
        "apt-get -qq update",
        "apt-get -qq install -y --no-install-recommends openjdk-17-jre-headless",
    ]


def test_the_venv_module_is_asked_for_by_the_package_of_this_python(machine: Machine, tmp_path: Path) -> None:
    machine.has("python", PYTHON_WITHOUT_VENV)
    package = f"python3.{sys.version_info.minor}-venv"
    asked = f"The environment needs the venv module of python: install it (Debian: apt-get install {package})"
    assert said(machine.make("PYTHON=python", f"VENV={tmp_path}/venv", f"{tmp_path}/venv/bin/python")) == asked


def test_a_python_of_another_version_is_refused(machine: Machine, tmp_path: Path) -> None:
    machine.has("python", "#!/bin/sh\nexit 1\n")
    refused = "Python 3.11, 3.12 or 3.13 is needed, python is not one: make PYTHON=/path/to/python3.11 ..."
    assert said(machine.make("PYTHON=python", f"VENV={tmp_path}/venv", f"{tmp_path}/venv/bin/python")) == refused


def test_chromium_is_asked_for(machine: Machine) -> None:
    asked = "The tests of the UI need Chromium: install it (Debian: apt-get install chromium)"
    assert said(machine.make("chromium")) == asked
