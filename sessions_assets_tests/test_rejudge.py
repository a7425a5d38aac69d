"""Judging days again from the lake alone gives what landing their files again would give (R22, R23)."""

import json
import shutil
import tarfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.ledger import ClosedDayError
from sessions_assets.lake.tables import ODS_SESSIONS, RAW_EVENTS, RAW_QUARANTINE, Table
from sessions_assets.landing.batches import Landing
from sessions_assets.pipeline import land as land_module
from sessions_assets.pipeline import maintain
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.rejudge import rejudge
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.deployment import BATCHES, Deployment
from sessions_assets_tests.deployment import DAYS as ALL_DAYS
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import day, event, write_batches

RULE = SessionRule()
HEADER = "user_id,event_id,product_code,timestamp,page\n"
# Six days before the batch: too late under a lateness of five days, accepted under six.
LATE = '1,a,I,2025-03-04 10:00:00.1234567,"/a ""b"""\n'
IN_TIME = "1,b,I,2025-03-10T10:04:00+01:00,\n"
NEVER = "1,b,I,yesterday,/x\n1,b\n,b,I,2025-03-10 10:00:00,\n"
AS_JSON = [
    {"user_id": 7.10, "event_id": "a", "product_code": "I", "timestamp": "2025-03-05 10:00:00", "n": {"x": [1, 2.50]}},
    {"user_id": "7", "event_id": "x", "product_code": "I", "timestamp": "2025-03-11 10:00Z", "z": None},
    {"user_id": "7", "event_id": "x", "product_code": "I", "timestamp": "2025-13-11 10:00Z"},
]


def rows_of(lake: Lake, table: Table) -> list[tuple[Any, ...]]:
    """Collect all columns of a table but the text of refused rows, sorted; of a file its name."""
    names = [column.name for column in table.columns if column.name != "raw_text"]
    plain = {
        "attributes": lambda pairs: str(pairs and sorted(pairs)),
        "source_file": lambda file: file.rpartition("/")[2],
    }
    rows = lake.rows(table, ", ".join(names))
    return sorted(tuple(plain.get(name, str)(value) for name, value in zip(names, row, strict=True)) for row in rows)


def tables_of(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    return {table.name: rows_of(lake, table) for table in (RAW_EVENTS, RAW_QUARANTINE, ODS_SESSIONS)}


@pytest.fixture(scope="module")
def landing(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Batches of all formats, with rows that one lateness accepts and another does not."""
    folder = tmp_path_factory.mktemp("rejudge") / "landing"
    folder.mkdir()
    (folder / "2025-03-10.csv").write_text(HEADER + LATE + IN_TIME + NEVER)
    (folder / "2025-03-11.jsonl").write_text("".join(json.dumps(row) + "\n" for row in AS_JSON))
    times = ["2025-03-06 10:00:00", "2025-03-12 10:00:00.000001", "0001-01-01 00:00:00"]
    values = " UNION ALL ".join(f"SELECT TIMESTAMP'{time}' AS timestamp, {n} AS n" for n, time in enumerate(times))
    made = spark.sql(f"SELECT 'u' AS user_id, 'a' AS event_id, 'P' AS product_code, timestamp, n FROM ({values})")  # noqa: S608
    made.coalesce(1).write.parquet(str(folder / "made"))
    next((folder / "made").glob("*.parquet")).rename(folder / "2025-03-12.parquet")
    shutil.rmtree(folder / "made")
    return folder


DAYS = [day(0), day(1), day(2)]


def landed(
    spark: SparkSession, root: Path, landing: Path, lateness_days: int, days: Sequence[date] = tuple(DAYS)
) -> Lake:
    lake = Lake(spark, str(root))
    land(spark, lake, Landing(str(landing)), days, lateness_days)
    apply(spark, lake, days, RULE)
    return lake


@pytest.fixture(scope="module")
def by_lateness(spark: SparkSession, landing: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Lakes into which the batches were landed under two latenesses."""
    folder = tmp_path_factory.mktemp("rejudge_lakes")
    return {n: Path(landed(spark, folder / str(n), landing, n).path(RAW_EVENTS)).parent for n in (5, 6)}


def copy_of(lake: Path, spark: SparkSession, folder: Path) -> Lake:
    shutil.copytree(lake, folder)
    return Lake(spark, str(folder))


@pytest.mark.parametrize(("before", "after"), [(5, 6), (6, 5)], ids=["wider", "narrower"])
def test_judging_again_gives_what_landing_again_gives(
    before: int, after: int, by_lateness: dict[int, Path], spark: SparkSession, tmp_path: Path
) -> None:
    """Row by row, all columns but the text of a row that becomes refused, whose file may be gone."""
    lake = copy_of(by_lateness[before], spark, tmp_path / "lake")
    judged = rejudge(spark, lake, [], after)
    apply(spark, lake, list(judged), RULE)
    wanted = Lake(spark, str(by_lateness[after]))
    assert tables_of(lake) == tables_of(wanted) != tables_of(Lake(spark, str(by_lateness[before])))
    known = [(e.rows_delivered, e.rows_accepted, e.lateness_days, e.attributes) for e in lake.ledger.entries().values()]
    assert known == [
        (e.rows_delivered, e.rows_accepted, e.lateness_days, e.attributes) for e in wanted.ledger.entries().values()
    ]
    versions = [lake.version(table) for table in (RAW_EVENTS, RAW_QUARANTINE, ODS_SESSIONS)]
    assert rejudge(spark, lake, DAYS, after) == {}
    assert [lake.version(table) for table in (RAW_EVENTS, RAW_QUARANTINE, ODS_SESSIONS)] == versions


@pytest.mark.long
@pytest.mark.parametrize("lateness_days", [2, 30])
def test_the_sample_judged_again_is_the_sample_landed_again(
    lateness_days: int, sample: Deployment, spark: SparkSession, tmp_path: Path
) -> None:
    """All its formats, with rows that are too late under the one and in time under the other."""
    lake = copy_of(sample.folder, spark, tmp_path / "lake")
    before = tables_of(lake)
    judged = rejudge(spark, lake, [], lateness_days)
    apply(spark, lake, list(judged), RULE)
    assert tables_of(lake) == tables_of(landed(spark, tmp_path / "other", BATCHES, lateness_days, ALL_DAYS)) != before


def test_a_row_that_becomes_refused_has_its_values_as_text(
    by_lateness: dict[int, Path], spark: SparkSession, tmp_path: Path
) -> None:
    lake = copy_of(by_lateness[6], spark, tmp_path / "lake")
    rejudge(spark, lake, [day(0)], 5)
    (row,) = lake.read_days(RAW_QUARANTINE, [day(0)]).where("reason = 'too_late'").collect()
    assert json.loads(row.raw_text) == {
        "user_id": "1", "event_id": "a", "product_code": "I", "timestamp": "2025-03-04 10:00:00.1234567",
        "page": '/a "b"',
    }  # fmt: skip


def test_a_crash_between_the_two_tables_loses_nothing(
    by_lateness: dict[int, Path], spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late row has left raw_events and is not yet in raw_quarantine: judging begins from the versions before."""
    lake = copy_of(by_lateness[6], spark, tmp_path / "lake")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(land_module, "_write_quarantine", crash)
        with pytest.raises(KeyboardInterrupt):
            rejudge(spark, lake, [day(0)], 5)
    assert [len(lake.read_days(t, [day(0)]).collect()) for t in (RAW_EVENTS, RAW_QUARANTINE)] == [1, 3]
    with pytest.raises(LakeError, match="its landing was begun and has not ended"):
        apply(spark, lake, [day(0)], RULE)
    rejudge(spark, lake, [], 5)
    apply(spark, lake, DAYS, RULE)
    assert tables_of(lake) == tables_of(Lake(spark, str(by_lateness[5])))


def test_what_cannot_be_judged_again_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    """A day that never came, one that expired, one whose landing has not ended; the tables stay as they are.

    A day that came after newer ones had expired is closed, though its rows are still there: named, it is refused too.
    """
    arrivals = {day(number): [event("a", "10:00", number)] for number in (-1, 0, 20)}
    write_batches(tmp_path / "landing", arrivals)
    lake, batches = Lake(spark, str(tmp_path / "lake")), Landing(str(tmp_path / "landing"))
    with pytest.raises(LakeError, match="no batch of 2025-03-10 was delivered: there is nothing to judge again"):
        rejudge(spark, lake, [day(0)], 5)
    land(spark, lake, batches, [day(0), day(20)], 5)
    apply(spark, lake, [day(0), day(20)], RULE)
    maintain.expire(spark, lake)
    land(spark, lake, batches, [day(-1)], 5)
    apply(spark, lake, [day(-1)], RULE)
    assert lake.count_rows(RAW_EVENTS, arrivals) == {day(-1): 1, day(0): 0, day(20): 1}
    before = tables_of(lake)
    with pytest.raises(ClosedDayError, match="2025-03-09 cannot be landed"):
        rejudge(spark, lake, [day(-1)], 6)
    with pytest.raises(ClosedDayError, match=r"2025-03-10 cannot be landed .* of days up to 2025-03-10 have expired"):
        rejudge(spark, lake, [day(0), day(20)], 6)
    assert list(rejudge(spark, lake, [], 6)) == [day(20)]
    assert tables_of(lake) == before
    lake.ledger.begin([lake.ledger.entries()[day(20)]])
    with pytest.raises(LakeError, match="the landing of 2025-03-30 was begun and has not ended"):
        rejudge(spark, lake, [day(20)], 5)
    assert tables_of(lake) == before


def test_the_job_judges_and_applies(by_lateness: dict[int, Path], spark: SparkSession, tmp_path: Path) -> None:
    """With an empty landing, under the lateness of the settings."""
    (tmp_path / "landing").mkdir()
    lake = copy_of(by_lateness[5], spark, tmp_path / "lake")
    deployment = Deployment(spark, tmp_path / "lake", tmp_path / "landing", lateness_days=6)
    shown = [
        {name: value.value for name, value in event.step_output_data.metadata.items()}
        for event in deployment.run_job("rejudge_days").all_events
        if event.is_successful_output
    ]
    assert (shown[0]["judged_days"], shown[1]["run/rows_inserted"]) == (3, 3)
    assert [tuple(record.data.values()) for record in shown[0]["days"].records] == [
        ("2025-03-10", "2", "3"), ("2025-03-11", "2", "1"), ("2025-03-12", "2", "1"),
    ]  # fmt: skip
    assert tables_of(lake) == tables_of(Lake(spark, str(by_lateness[6])))


# --- A lake of the edition before


EDITION = Path(__file__).parent / "editions" / "without_attributes.tar.gz"


def test_a_lake_of_the_edition_before_opens_and_goes_on(spark: SparkSession, tmp_path: Path) -> None:
    """Written without attributes: the columns are added with the next day; the days before have NULL there."""
    with tarfile.open(EDITION) as archive:
        archive.extractall(tmp_path, filter="data")
    lake = Lake(spark, str(tmp_path / "lake"))
    old = tables_of_old(lake)
    with pytest.raises(LakeError, match="2025-03-10 was landed by an edition that kept only the text of refused rows"):
        rejudge(spark, lake, [day(0)], 6)
    # A batch without rows adds no column.
    (tmp_path / "landing" / "2025-03-13.csv").write_text(HEADER)
    assert land(spark, lake, Landing(str(tmp_path / "landing")), [day(3)], 5)[day(3)].attributes == ()
    assert lake.ledger.entries([day(3)])[day(3)].attribute_names == ()
    (tmp_path / "landing" / "2025-03-12.csv").write_text(HEADER + "1,c,I,2025-03-10 10:06:00,/a\n")
    days = [day(2)]
    landed_days = land(spark, lake, Landing(str(tmp_path / "landing")), days, 5)
    assert landed_days[day(2)].attributes == ("page",)
    assert apply(spark, lake, days, RULE).sessions["extended"] == 1
    assert tables_of_old(lake, until=day(1)) == old
    assert [
        tuple(r) for r in lake.read_days(RAW_EVENTS, days).select("timestamp_text", "attributes.page").collect()
    ] == [("2025-03-10 10:06:00", "/a")]
    assert lake.read(RAW_EVENTS).where("timestamp_text IS NOT NULL").count() == 1
    comments = {f.name: f.metadata.get("comment") for f in lake.read(RAW_EVENTS).schema.fields}
    assert comments == {column.name: column.meaning for column in RAW_EVENTS.columns}
    # Its own days land anew from their files, and keep what was dropped before.
    both = [day(0), day(1)]
    assert land(spark, lake, Landing(str(tmp_path / "landing")), both, 5)[day(0)].attributes == ("app",)
    assert apply(spark, lake, both, RULE).rows == {"inserted": 0, "changed": 0, "removed": 0}
    assert tables_of_old(lake, until=day(1)) == old
    assert list(rejudge(spark, lake, [day(0)], 6)) == [day(0)]


def tables_of_old(lake: Lake, until: date = date.max) -> dict[str, list[tuple[Any, ...]]]:
    """Collect the columns that the edition before had, without the days that came later."""
    old = {
        RAW_EVENTS: ["user_id", "event_id", "product_code", "string(timestamp)", "_updated_at"],
        RAW_QUARANTINE: ["reason", "raw_text", "_updated_at"],
    }
    last = min(until, day(400))
    return {
        table.name: sorted(
            tuple(r) for r in lake.read(table).where(f"_updated_at <= '{last}'").selectExpr(*names).collect()
        )
        for table, names in old.items()
    }
