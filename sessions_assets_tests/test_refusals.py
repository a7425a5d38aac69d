"""Files that are not what they seem, failed writes, requests without a day: taken as they are, or one sentence.

What is in a file is tested in `test_landing` and `test_drift`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from sessions_assets.dagster.steps import step
from sessions_assets.lake import raw
from sessions_assets.lake.lake import Lake as PlainLake
from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.tables import Table
from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.pipeline import land as landing_of
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import LandingError, land
from sessions_assets.rule.input_format import InputFormat
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets.storage import Storage
from sessions_assets_tests.answering import answering
from sessions_assets_tests.deployment import Deployment, failure_of
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.processes import python
from sessions_assets_tests.stack import FOR_TINY_DATA
from sessions_assets_tests.tables import day
from sessions_assets_tests.test_drift import EVENT, TEXTS, parquet_file
from sessions_assets_tests.test_landing import HEADER, land_files, nothing_is_there, raw_rows

PROJECT = Path(__file__).parent.parent
LINE = "7,a,I,2025-03-10 10:00:00\n"
ROW = ("7", "a", "I", "2025-03-10 10:00:00")
OTHER = LINE.replace("7", "8")


def of(path: Path, number: int = 0) -> str:
    """Return the fingerprint of the batch of a day."""
    return Landing(str(path)).find([day(number)])[day(number)].fingerprint


# --- Links


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A landing of links: to a file, to a folder, and to a file from within a folder."""
    (tmp_path / "elsewhere" / "folder").mkdir(parents=True)
    for name in ("file", "folder/part-0.csv", "part"):
        (tmp_path / "elsewhere" / name).write_text(HEADER + LINE)
    landing = tmp_path / "landing"
    (landing / "2025-03-12").mkdir(parents=True)
    (landing / "2025-03-10.csv").symlink_to("../elsewhere/file")
    (landing / "2025-03-11").symlink_to(tmp_path / "elsewhere" / "folder", target_is_directory=True)
    (landing / "2025-03-12" / "part-0.csv").symlink_to(tmp_path / "elsewhere" / "part")
    return landing


@pytest.mark.parametrize(("number", "target"), [(0, "file"), (1, "folder/part-0.csv"), (2, "part")])
def test_a_link_changes_with_its_target(number: int, target: str, linked: Path) -> None:
    """Also when what it leads to has the same size as before."""
    before = of(linked, number)
    assert of(linked, number) == before
    (linked.parent / "elsewhere" / target).write_text(HEADER + OTHER)
    assert of(linked, number) != before


def test_a_link_that_leads_elsewhere_has_changed(linked: Path) -> None:
    """Though the other file has the same size and time."""
    before, link = of(linked), linked / "2025-03-10.csv"
    target = linked.parent / "elsewhere" / "file"
    target.with_name("other").write_text(HEADER + OTHER)
    os.utime(target.with_name("other"), ns=(0, target.stat().st_mtime_ns))
    link.unlink()
    link.symlink_to("../elsewhere/other")
    assert of(linked) != before


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def in_a_circle(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (dangling, "is a link to nowhere, which cannot be followed: No such file or directory"),
        (in_a_circle, "is a link to NAME, which cannot be followed: Too many levels of symbolic links"),
        (os.mkfifo, "is neither a file nor a folder: expected a file of events"),
    ],
)
@pytest.mark.parametrize("name", ["2025-03-10.csv", "2025-03-10/part-0.csv"])
def test_what_is_no_file_is_one_sentence(name: str, make: Callable[[Path], None], problem: str, tmp_path: Path) -> None:
    """Nobody waits at a pipe; and a broken link beside the batch is nobody's business."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    make(tmp_path / name)
    (tmp_path / "2025-03-11.csv").symlink_to("nowhere")
    with pytest.raises(DeliveryError) as refused:
        Landing(str(tmp_path)).find([day(0)])
    assert str(refused.value) == f"file://{tmp_path}/{name} {problem.replace('NAME', Path(name).name)}"


def test_a_landing_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: nothing is closed to root, who runs tests in containers."""

    def closed(*_: object) -> Iterator[object]:
        raise PermissionError(13, "Permission denied")

    landing = Landing(str(tmp_path))
    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DeliveryError, match=f"file://{tmp_path} may not be listed"):
        landing.find([day(0)])


# --- Names, and files beside files

NAMED_BY_TIME = "events-2025-03-10T10:00:00Z"
AS_PARQUET = parquet_file(TEXTS | {"timestamp": pa.string()}, EVENT)
AS_JSON = '{"user_id": "7", "event_id": "a", "product_code": "I", "timestamp": "2025-03-10 10:00:00"}\n'


def test_files_of_all_kinds_land_by_any_way(linked: Path, lake: Lake) -> None:
    """Links; names with colons; and files with a checksum of another tool, for what they were before: in one run."""
    files: dict[str, str | bytes] = {
        f"2025-03-13/{NAMED_BY_TIME}.csv": HEADER + LINE,
        f"2025-03-13/{NAMED_BY_TIME}.jsonl": AS_JSON,
        f"2025-03-13/{NAMED_BY_TIME}.parquet": AS_PARQUET,
        "2025-03-13/:p.csv": HEADER + LINE,
        "2025-03-14.csv": HEADER + LINE,
        "2025-03-15.parquet": AS_PARQUET,
    }
    # Hadoop's checksums: a header, the number of bytes of a chunk, and a sum for each.
    for name in (".2025-03-14.csv.crc", ".2025-03-15.parquet.crc"):
        (linked / name).write_bytes(b"crc\x00\x00\x00\x02\x00" + bytes(8))
    land_files(lake, linked.parent, files, days=6)
    parquet = EVENT
    expected = {0: [ROW], 1: [ROW], 2: [ROW], 3: [ROW, ROW, parquet, ROW], 4: [ROW], 5: [parquet]}
    assert {number: raw_rows(lake, day(number)) for number in expected} == {n: sorted(r) for n, r in expected.items()}

    (linked.parent / "elsewhere" / "file").write_text(HEADER + OTHER)
    land_files(lake, linked.parent, {})
    assert raw_rows(lake) == [("8", *ROW[1:])]


def test_a_name_that_spark_cannot_take_is_one_sentence(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match=r"2025-03-10/a:\[1\].csv cannot be read: expected no colon in a path with"):
        land_files(lake, tmp_path, {"2025-03-10/a:[1].csv": HEADER + LINE})
    assert nothing_is_there(lake)


LANDING_A_DAY = """
import sys
from datetime import date
from sessions_assets.dagster.resources import SparkResource
from sessions_assets.lake.lake import Lake
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline.land import land

tiny = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
spark = SparkResource(master="local[2]", spark_config=tiny).spark_session
landed = land(spark, Lake(sys.argv[2]), Landing(sys.argv[1]), [date(2025, 3, 10)], 5)
print(landed[date(2025, 3, 10)].rows_accepted)
"""


def test_names_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    """Python takes them for UTF-8 under this locale, a JVM that inherits it for ASCII. Also those of the lake."""
    (tmp_path / "Ümläute" / "2025-03-10").mkdir(parents=True)
    (tmp_path / "Ümläute" / "2025-03-10" / "Tëil-日.csv").write_text(HEADER + LINE)
    (tmp_path / "Ümläute" / "2025-03-10" / "Tëil-日.parquet").write_bytes(AS_PARQUET)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "LC_"))}
    environment |= {"LC_ALL": "POSIX", "PYTHONPATH": str(PROJECT), **FOR_TINY_DATA}
    places = (tmp_path / "Ümläute", tmp_path / "Ümläute" / "lake")
    assert python("-c", LANDING_A_DAY, *places, cwd=PROJECT, environment=environment).splitlines()[-1] == "2"


# --- Objects on S3

LISTED = {
    "batches/": (["2025-03-10/"], ["", "2025-03-10_$folder$", "2025-03-11.csv"]),
    "batches/2025-03-10/": ([], ["", "old_$folder$", "part-0.csv"]),
}


def listing(path: str) -> tuple[int, str]:
    """Answer with a list of objects, of which those that mark a folder have no byte."""
    prefix = parse_qs(urlsplit(path).query)["prefix"][0]
    folders, names = LISTED[prefix]
    sizes = {name: 0 if name == "" or name.endswith("$") else 50 for name in names}
    answer = "".join(
        f"<Contents><Key>{prefix}{name}</Key><Size>{sizes[name]}</Size><ETag>e</ETag></Contents>" for name in names
    )
    answer += "".join(f"<CommonPrefixes><Prefix>{prefix}{f}</Prefix></CommonPrefixes>" for f in folders)
    return 200, f"<?xml version='1.0'?><ListBucketResult><Name>bucket</Name>{answer}</ListBucketResult>"


def test_objects_that_mark_a_folder_are_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consoles of S3 leave `2025-03-10/`, Hadoop `2025-03-10_$folder$`: also of the landing itself."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    with answering(listing) as endpoint:
        found, problems = Landing("s3://bucket/batches", Storage(endpoint)).look([day(0), day(1)])
    assert problems == {}
    assert {arrival: batch.files for arrival, batch in found.items()} == {
        day(0): ("s3://bucket/batches/2025-03-10/part-0.csv",),
        day(1): ("s3://bucket/batches/2025-03-11.csv",),
    }


# --- Writes that fail


@pytest.fixture(scope="module")
def delivered_again(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day that has landed and was applied, then delivered again with another row: lake and landing."""
    folder = tmp_path_factory.mktemp("delivered_again")
    lake = Lake(spark, str(folder / "lake"))
    land_files(lake, folder, {"2025-03-10.csv": HEADER + LINE})
    apply(lake.spark, lake, [day(0)], SessionRule())
    (folder / "landing" / "2025-03-10.csv").write_text(HEADER + LINE + OTHER)
    return folder


@pytest.fixture
def landed(spark: SparkSession, delivered_again: Path, tmp_path: Path) -> Lake:
    """A copy of it, for a test that writes."""
    shutil.copytree(delivered_again, tmp_path, dirs_exist_ok=True)
    return Lake(spark, str(tmp_path / "lake"))


def again(lake: Lake, folder: Path) -> None:
    land(lake.spark, lake, Landing(str(folder / "landing")), [day(0)], 5)


def test_a_write_that_fails_is_taken_back(landed: Lake, tmp_path: Path) -> None:
    """Spark names its own table in such an error; the files are named here. The next try may succeed."""
    before, files = landed.ledger.entries(), tmp_path / "lake" / "raw_events" / "_updated_at=2025-03-10"
    files.rename(files.with_name("aside"))
    files.touch()
    with pytest.raises(LandingError, match=r"/landing/2025-03-10.csv cannot be landed: .*_updated_at=2025-03-10") as no:
        again(landed, tmp_path)
    assert "\n" not in str(no.value)
    assert no.value.__cause__ is not None
    files.unlink()
    files.with_name("aside").rename(files)
    assert landed.ledger.entries() == before
    assert raw_rows(landed) == [ROW]
    again(landed, tmp_path)
    assert len(raw_rows(landed)) == 2


def test_a_value_that_spark_refuses_names_the_files(
    landed: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such value is known: the reader is broken on purpose. Of a day that is new, nothing is left."""

    def narrow(rows: DataFrame, lateness_days: int, input_format: InputFormat) -> DataFrame:
        return typed(rows, lateness_days, input_format).withColumn(
            "event_id", F.col("event_id").cast("int").cast("string")
        )

    typed = landing_of.typed
    monkeypatch.setattr(landing_of, "typed", narrow)
    before = landed.ledger.entries()
    for number in (1, 2):
        (tmp_path / "landing" / f"{day(number)}.csv").write_text(HEADER + LINE)
    with pytest.raises(DeliveryError) as refused:
        land(landed.spark, landed, Landing(str(tmp_path / "landing")), [day(number) for number in range(3)], 5)
    address = f"file://{tmp_path}/landing"
    assert str(refused.value).startswith(
        f"{address}/2025-03-10.csv, {address}/2025-03-11.csv, {address}/2025-03-12.csv cannot be read: The value 'a' "
    )
    assert str(refused.value).endswith("[CAST_INVALID_INPUT]")
    assert landed.ledger.entries() == before


@pytest.mark.parametrize("is_written", [False, True])
def test_the_ledger_says_what_raw_events_holds(
    landed: Lake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_written: bool,  # noqa: FBT001
) -> None:
    """Whatever fails: before the commit all is as it was, after it the day waits until it is landed again."""
    replace_days = raw.replace_days

    def fail(lake: PlainLake, table: Table, days: list[object], rows: DataFrame) -> None:
        if is_written:
            replace_days(lake, table, days, rows)  # type: ignore[arg-type]
        raise MemoryError

    before = landed.ledger.entries()
    with monkeypatch.context() as broken:
        broken.setattr(raw, "replace_days", fail)
        with pytest.raises(MemoryError):
            again(landed, tmp_path)
    assert (landed.ledger.entries() == before) is not is_written
    if is_written:
        with pytest.raises(LakeError, match="raw_events holds 2 rows of 2025-03-10, but its landing was begun and has"):
            apply(landed.spark, landed, [day(0)], SessionRule())


# --- Requests without a day, and where a refusal is shown


def test_a_refusal_is_the_last_line_of_the_command(tmp_path: Path) -> None:
    """Dagster shows it some hundred lines above its own last one. Nothing has started then, not even Spark."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "DAGSTER_HOME": str(tmp_path)}
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    arguments = ["asset", "materialize", "-m", "sessions_assets.definitions", "--select", "raw_events,ods_sessions"]
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-m", "dagster", *arguments, "--partition-range", "2025-03-12...2025-03-10"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    sentence = "2025-03-12...2025-03-10 has no day: expected the first day, then the last one"
    assert (done.returncode, done.stderr.splitlines()[-2:]) == (1, ["Error: Materialization failed.", sentence])
    assert "IndexError" not in done.stderr


@pytest.mark.parametrize("asset", ["raw_events", "ods_sessions"])
def test_checks_of_no_day_are_refused(asset: str, spark: SparkSession, tmp_path: Path) -> None:
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    graph = deployment.definitions.resolve_asset_graph()
    keys = frozenset(key for key in graph.asset_check_keys if key.asset_key == dg.AssetKey(asset))
    result = deployment.check_range(day(2), day(0), keys)
    assert failure_of(result) == "2025-03-12...2025-03-10 has no day: expected the first day, then the last one"


def test_a_refusal_is_what_the_failure_shows_first(spark: SparkSession, tmp_path: Path) -> None:
    """The UI shows the message of the error, and the description."""
    (tmp_path / "landing").mkdir()
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    result = deployment.materialize(day(0), only=["raw_events"])
    sentence = f"no batch of 2025-03-10 in file://{tmp_path}/landing: expected 2025-03-10["
    assert failure_of(result).startswith(sentence)
    (failed,) = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert failed.error is not None
    assert failed.error.message.startswith(f"dagster._core.definitions.events.Failure: {sentence}")


def test_a_job_refuses_what_is_no_day(spark: SparkSession, tmp_path: Path) -> None:
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing")
    result = deployment.run_job("expect_arrival", {"day": "10.03.2025"})
    assert failure_of(result) == "day='10.03.2025': expected a day such as 2025-03-10"


@pytest.mark.parametrize(("error", "may_retry"), [(LandingError("a sentence"), True), (LakeError("a sentence"), False)])
def test_a_write_that_failed_may_be_tried_again(error: Exception, may_retry: bool) -> None:  # noqa: FBT001
    """As an error of the machine, unlike a refusal."""
    with pytest.raises(dg.Failure) as failed, step(dg.build_op_context().log):
        raise error
    assert (failed.value.description, failed.value.allow_retries) == ("a sentence", may_retry)
