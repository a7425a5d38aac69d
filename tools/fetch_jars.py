"""Fetch the jars of an `ivy.xml` into its folder, and keep only the jars that `SHA256SUMS` beside it lists.

`python tools/fetch_jars.py` for the folder `jars`, `python tools/fetch_jars.py s3` for its folder `s3`. It needs
Java, and the Python that has pyspark: the Ivy that pyspark brings does the download. When every jar is there with its
checksum it does nothing, so it may be run before every use.

A Scala source in the folder, or in its folder `delta`, becomes a jar too: the compiler that Spark brings compiles it
against the jars that were fetched, so that a source that does not fit them fails here, and not in a run.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "jars"
PATIENCE_SECONDS = 900
TELLING = re.compile(r"module not found|\[FAILED|download failed|access error|Exception")


class FetchError(Exception):
    """The folder could not be brought to its list; the message states the reason in one line."""


def main() -> None:
    """Fetch and compile the jars of the folder, or exit with 1 and the reason in one line."""
    try:
        print(update(FOLDER.joinpath(*sys.argv[1:])))
    except FetchError as error:
        sys.exit(f"jars: {error}")


def update(folder: Path) -> str:
    """Leave in a folder exactly the jars that its `SHA256SUMS` lists, each with its checksum.

    Args:
        folder: holds `ivy.xml` and `SHA256SUMS`, and gets the jars.

    Returns:
        What was done, in one line.

    Raises:
        FetchError: a jar is wrong or could not be had. No wrong jar is left in the folder then.
    """
    sums = _read_sums(folder / "SHA256SUMS")
    _remove_what_is_not_listed(folder, sums)
    if sums and all((folder / name).is_file() for name in sums):
        done = f"jars: all {len(sums)} are there, nothing to fetch"
    else:
        _fetch(folder, sums)
        done = f"jars: fetched {len(sums)}, checksums right"
    own = folder / "delta"
    _remove_what_is_not_listed(own, {})
    for source in sorted([*folder.glob("*.scala"), *own.glob("*.scala")]):
        _compile(source, _compiled(source))
    return done


def _fetch(folder: Path, sums: dict[str, str]) -> None:
    # In the same folder, so that each jar is moved in one step: an interrupted fetch leaves no incomplete jar.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
        fetched = Path(temporary, "jars")
        _run_ivy(_ivy_command(folder / "ivy.xml"), Path(temporary))
        _verify(fetched, sums)
        for name in sums:
            (fetched / name).replace(folder / name)


def _compiled(source: Path) -> Path:
    """Name the jar of a source after what it is made of: it is compiled again when its text, Spark or a jar changes."""
    lists = [folder / "SHA256SUMS" for folder in (source.parent, source.parent.parent)]
    texts = [file.read_bytes() for file in (source, *lists) if file.is_file()]
    made_of = b"\0".join([importlib.metadata.version("pyspark").encode(), *texts])
    return source.with_name(f"{source.stem}-{hashlib.sha256(made_of).hexdigest()[:12]}.jar")


def _compile(source: Path, jar: Path) -> None:
    if jar.is_file():
        return
    libraries = [*_spark_jars(), *source.parent.glob("*.jar"), *source.parent.parent.glob("*.jar")]
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=source.parent) as temporary:
        made = Path(temporary, jar.name)
        scala = [_java(), "-cp", os.pathsep.join(map(str, _spark_jars())), "scala.tools.nsc.Main", "-usejavacp"]
        options = ["-cp", os.pathsep.join(map(str, libraries)), "-d", str(made), str(source)]
        compiler = _run([*scala, *options], Path(temporary))
        if compiler.returncode:
            print(compiler.stdout + compiler.stderr, file=sys.stderr)
            raise FetchError(
                f"{source.name} does not compile, see above: it must fit the jars in {source.parent.parent}"
            )
        made.replace(jar)
    print(f"jars: compiled {source.name}", flush=True)


def _read_sums(path: Path) -> dict[str, str]:
    """Read what `sha256sum` wrote: checksum by file name."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: checksum for checksum, name in (line.split(maxsplit=1) for line in lines if line.strip())}


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_what_is_not_listed(folder: Path, sums: dict[str, str]) -> None:
    """Remove jars of older versions and damaged ones: Spark is given every jar of the folder."""
    compiled = {_compiled(source) for source in folder.glob("*.scala")}
    for jar in sorted(set(folder.glob("*.jar")) - compiled):
        if jar.name not in sums:
            print(f"jars: {jar.name} is not listed in SHA256SUMS, removed", flush=True)
            jar.unlink()
        elif _sum(jar) != sums[jar.name]:
            print(f"jars: {jar.name} has a wrong checksum, removed to be fetched again", flush=True)
            jar.unlink()


def _ivy_command(ivy_file: Path) -> list[str]:
    # A cache of its own: a damaged file in the user's cache would come back at every try. Relative to where Ivy
    # runs: brackets in a folder's name would be read as part of the pattern.
    where = ["-ivy", str(ivy_file), "-cache", "cache", "-retrieve", "jars/[artifact]-[revision].[ext]"]
    return [_java(), "-jar", str(_ivy_jar()), *where, "-confs", "default", "-types", "jar"]


def _java() -> str:
    """Find Java where Spark will: JAVA_HOME, else the PATH."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(Path(home, "bin", "java") if home else "java")
    if java is None:
        where = f"in JAVA_HOME={home}" if home else "on the PATH"
        raise FetchError(f"no Java found {where}: install Java 17, or run `make setup`")
    return java


def _spark_jars() -> list[Path]:
    """Find the jars that pyspark brings, among them Ivy and the Scala compiler."""
    pyspark = importlib.util.find_spec("pyspark")
    if pyspark is None or pyspark.origin is None:
        raise FetchError(f"pyspark is not installed for {sys.executable}: run `make setup`")
    return sorted(Path(pyspark.origin).parent.glob("jars/*.jar"))


def _ivy_jar() -> Path:
    found = [jar for jar in _spark_jars() if jar.name.startswith("ivy-")]
    if not found:
        raise FetchError("no Ivy among the jars of pyspark: is it whole?")
    return found[-1]


def _run(command: list[str], where: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - a list without shell, of our own making
            command,
            cwd=where,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"no end within {PATIENCE_SECONDS} s: is the network slow?") from error


def _run_ivy(command: list[str], where: Path) -> None:
    ivy = _run(command, where)
    if ivy.returncode:
        lines = (ivy.stdout + ivy.stderr).splitlines()
        telling = [line.strip() for line in lines if TELLING.search(line)] or lines[-10:]
        print(*list(dict.fromkeys(telling))[:20], sep="\n", file=sys.stderr)
        raise FetchError(f"Ivy failed (exit code {ivy.returncode}), see above: is Maven Central reached from here?")


def _verify(fetched: Path, sums: dict[str, str]) -> None:
    """Compare what Ivy brought with the list, both ways."""
    got = {jar.name: _sum(jar) for jar in sorted(fetched.glob("*.jar"))}
    if missing := sorted(sums.keys() - got.keys()):
        raise FetchError(f"ivy.xml does not give {', '.join(missing)}, which SHA256SUMS lists")
    if wrong := sorted(name for name in sums if got[name] != sums[name]):
        details = "; ".join(f"{name}: expected {sums[name]}, got {got[name]}" for name in wrong)
        raise FetchError(f"wrong checksum, so nothing is kept: {details}")
    if unlisted := sorted(got.keys() - sums.keys()):
        lines = "".join(f"\n{got[name]}  {name}" for name in unlisted)
        raise FetchError(f"not in SHA256SUMS, add if you trust them:{lines}")


if __name__ == "__main__":
    main()
