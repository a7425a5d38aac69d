"""Laws of `tools/fetch_jars.py`. Java is a stand-in here that gives what a test lays out: nothing is downloaded."""

import hashlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from zipfile import ZipFile

import pytest

PROJECT = Path(__file__).parent.parent
RIGHT, WRONG = b"the right jar", b"another jar"
SUMS = f"{hashlib.sha256(RIGHT).hexdigest()}  a-1.jar\n"

JAVA = """#!/bin/sh
mkdir jars && cp "$GIVES"/*.jar jars
"""
# Its last two arguments are the jar to make and the source.
COMPILING_JAVA = """#!/bin/sh
while [ $# -gt 2 ]; do shift; done
cat "$2" > "$1" && echo >> "$1"
"""
FAILING_JAVA = """#!/bin/sh
echo ':: resolving dependencies ::'
echo '    module not found: org#a;1'
exit 1
"""


class Jars:
    """A folder with its own copy of `fetch_jars.py`, a list of one jar, and a Java of the test's choice."""

    def __init__(self, root: Path) -> None:
        self.folder, self.gives, self.bin, self.tools = (root / name for name in ("jars", "gives", "bin", "tools"))
        for folder in (self.folder, self.gives, self.bin, self.tools):
            folder.mkdir()
        shutil.copy(PROJECT / "tools" / "fetch_jars.py", self.tools)
        (self.folder / "SHA256SUMS").write_text(SUMS)

    def fetch(self, java: str | None = JAVA) -> subprocess.CompletedProcess[str]:
        """Run `fetch_jars.py` with this Java, or with none."""
        if java is not None:
            (self.bin / "java").write_text(java)
            (self.bin / "java").chmod(0o755)
        path = str(self.bin) if java is None else f"{self.bin}:{os.defpath}"
        return _fetch(self.folder, {"PATH": path, "GIVES": str(self.gives)})

    @property
    def content(self) -> dict[str, bytes]:
        """Return the files of the folder beside the two from git."""
        given = {"SHA256SUMS"}
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.name not in given}


def _fetch(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder.parent / "tools" / "fetch_jars.py")]
    return subprocess.run(  # noqa: S603 - our own script
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def jars(tmp_path: Path) -> Jars:
    return Jars(tmp_path)


def test_right_jars_need_no_java(jars: Jars) -> None:
    (jars.folder / "a-1.jar").write_bytes(RIGHT)
    done = jars.fetch(java=None)
    assert (done.returncode, done.stdout) == (0, "jars: all 1 are there, nothing to fetch\n")


def test_missing_jar_is_fetched(jars: Jars) -> None:
    (jars.gives / "a-1.jar").write_bytes(RIGHT)
    assert jars.fetch().returncode == 0
    assert jars.content == {"a-1.jar": RIGHT}


def test_damaged_jar_is_fetched_again(jars: Jars) -> None:
    (jars.folder / "a-1.jar").write_bytes(WRONG)
    (jars.gives / "a-1.jar").write_bytes(RIGHT)
    assert jars.fetch().returncode == 0
    assert jars.content == {"a-1.jar": RIGHT}


def test_fetched_jar_with_wrong_checksum_is_named_and_not_kept(jars: Jars) -> None:
    (jars.gives / "a-1.jar").write_bytes(WRONG)
    done = jars.fetch()
    assert done.returncode == 1
    assert "wrong checksum" in done.stderr
    assert "a-1.jar" in done.stderr
    assert jars.content == {}


def test_damaged_jar_is_named_and_not_kept_when_no_other_can_be_had(jars: Jars) -> None:
    (jars.folder / "a-1.jar").write_bytes(WRONG)
    done = jars.fetch(java=None)
    assert done.returncode == 1
    assert "a-1.jar has a wrong checksum" in done.stdout
    assert jars.content == {}


def test_missing_java_is_one_clear_line(jars: Jars) -> None:
    done = jars.fetch(java=None)
    assert done.returncode == 1
    assert done.stderr == "jars: no Java found on the PATH: install Java 17, or run `make setup`\n"


def test_failure_of_ivy_shows_its_reason_and_leaves_nothing(jars: Jars) -> None:
    done = jars.fetch(FAILING_JAVA)
    assert done.returncode == 1
    reason, error = done.stderr.splitlines()
    assert reason == "module not found: org#a;1"
    assert error.startswith("jars: Ivy failed")
    assert jars.content == {}


def test_listed_jar_that_ivy_does_not_give_is_named(jars: Jars) -> None:
    (jars.gives / "b-1.jar").write_bytes(RIGHT)
    done = jars.fetch()
    assert done.returncode == 1
    assert done.stderr == "jars: ivy.xml does not give a-1.jar, which SHA256SUMS lists\n"


def test_fetched_jar_that_is_not_listed_is_an_error_with_its_checksum_line(jars: Jars) -> None:
    (jars.gives / "a-1.jar").write_bytes(RIGHT)
    (jars.gives / "b-1.jar").write_bytes(WRONG)
    done = jars.fetch()
    assert done.returncode == 1
    assert done.stderr.endswith(f"\n{hashlib.sha256(WRONG).hexdigest()}  b-1.jar\n")
    assert jars.content == {}


def test_jar_of_an_older_list_is_removed(jars: Jars) -> None:
    (jars.folder / "a-1.jar").write_bytes(RIGHT)
    (jars.folder / "a-0.jar").write_bytes(WRONG)
    done = jars.fetch(java=None)
    assert done.returncode == 0
    assert "a-0.jar" in done.stdout
    assert jars.content == {"a-1.jar": RIGHT}


@pytest.mark.parametrize("folder", ["", "delta"])
def test_a_source_is_compiled_once_and_again_when_it_changes(folder: str, jars: Jars) -> None:
    """A jar of it is named after its content; what was compiled before is removed."""
    (jars.folder / "a-1.jar").write_bytes(RIGHT)
    names = []
    (jars.folder / folder).mkdir(exist_ok=True)
    for text in ("class One", "class One", "class Two"):
        (jars.folder / folder / "Store.scala").write_text(text)
        done = jars.fetch(COMPILING_JAVA if text not in names else None)
        assert done.returncode == 0, done.stderr
        assert ("compiled Store.scala" in done.stdout) == (text not in names)
        names.append(text)
        (compiled,) = (jars.folder / folder).glob("Store-*.jar")
        assert compiled.read_text() == f"{text}\n"


def test_a_source_is_compiled_again_for_other_jars(jars: Jars) -> None:
    """What was compiled against one Delta is not used with another."""
    (jars.folder / "a-1.jar").write_bytes(RIGHT)
    (jars.folder / "delta").mkdir()
    (jars.folder / "delta" / "Store.scala").write_text("class One")
    compiled = []
    for name in ("a-1.jar", "a-2.jar"):
        (jars.folder / name).write_bytes(RIGHT)
        (jars.folder / "SHA256SUMS").write_text(SUMS.replace("a-1.jar", name))
        done = jars.fetch(COMPILING_JAVA)
        assert "compiled Store.scala" in done.stdout, done.stderr
        compiled += [path.name for path in (jars.folder / "delta").glob("*.jar")]
    assert len(set(compiled)) == 2


def test_another_delta_fails_with_an_error_of_the_compiler(jars: Jars) -> None:
    """The real source, compiler and jars; of Delta's internals one is gone, as it could be in another release."""
    java = shutil.which("java")
    assert java is not None
    for jar in (PROJECT / "jars").glob("*.jar"):
        with ZipFile(jar) as old, ZipFile(jars.folder / jar.name, "w") as new:
            for name in old.namelist():
                if "DMLWithDeletionVectorsHelper" not in name:
                    new.writestr(name, old.read(name))
    sums = [f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in jars.folder.glob("*.jar")]
    (jars.folder / "SHA256SUMS").write_text("".join(sums))
    (jars.folder / "delta").mkdir()
    shutil.copy(PROJECT / "jars" / "delta" / "RowCommit.scala", jars.folder / "delta")
    done = jars.fetch(f'#!/bin/sh\nexec "{java}" "$@"\n')
    assert done.returncode == 1
    assert (
        "error: object DMLWithDeletionVectorsHelper is not a member of package org.apache.spark.sql.delta.commands"
        in done.stderr
    )
    assert "jars: RowCommit.scala does not compile" in done.stderr
    assert not list((jars.folder / "delta").glob("*.jar"))


def test_a_source_that_does_not_compile_shows_why(jars: Jars) -> None:
    (jars.folder / "a-1.jar").write_bytes(RIGHT)
    (jars.folder / "Store.scala").write_text("class")
    done = jars.fetch(FAILING_JAVA)
    assert done.returncode == 1
    assert "module not found: org#a;1" in done.stderr
    assert "jars: Store.scala does not compile" in done.stderr


@pytest.mark.parametrize("kind", ["", "s3"])
def test_the_list_and_the_checksums_name_the_same_jars(kind: str) -> None:
    pinned = ET.parse(PROJECT / "jars" / kind / "ivy.xml").iter("dependency")  # noqa: S314 - our own file
    names = {f"{jar.attrib['name']}-{jar.attrib['rev']}.jar" for jar in pinned}
    lines = (PROJECT / "jars" / kind / "SHA256SUMS").read_text().splitlines()
    assert names == {line.split()[1] for line in lines}


def test_the_jars_of_this_project_are_there_and_right() -> None:
    done = _fetch(PROJECT / "jars", {"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert "nothing to fetch" in done.stdout
