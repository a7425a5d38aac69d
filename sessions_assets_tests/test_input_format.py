"""Any log by settings alone (R25, R26): names, constants, units and zones, of every format, landed and judged again."""

import json
import shutil
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.tables import RAW_EVENTS, RAW_QUARANTINE
from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.pipeline import land as land_module
from sessions_assets.pipeline.land import land
from sessions_assets.pipeline.rejudge import rejudge
from sessions_assets.pipeline.results import LandedDay
from sessions_assets.rule.input_format import InputFormat
from sessions_assets_tests.deployment import Deployment, failure_of
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import day

COLUMNS = {"user_id": "Visitor Id", "event_id": "event.type", "timestamp": "at"}
FORMAT = InputFormat(COLUMNS, {"product_code": "it's a shop"}, timestamp_unit="ms", time_zone="Europe/Berlin")
DAYS = [day(0), day(1), day(2)]
# 2025-03-10 10:00:00 UTC.
AT = 1741600800000
# Delivered under names of its own, of which two are also names of this project.
ROWS: list[dict[str, Any]] = [
    {"Visitor Id": "7", "event.type": "view", "at": AT, "product_code": "p", "timestamp": "never", "price": 1.5},
    {"Visitor Id": "8", "event.type": "cart", "at": AT + 1, "product_code": None, "timestamp": None, "price": None},
    {"Visitor Id": "", "event.type": "cart", "at": AT + 2, "product_code": "q", "timestamp": None, "price": 2.5},
    {"Visitor Id": "9", "event.type": "cart", "at": 10**16, "product_code": "q", "timestamp": None, "price": None},
]
SHOP = "it's a shop"
SHOP_ONLY = {"product_code": SHOP}
ACCEPTED = [
    ("7", "view", SHOP, datetime(2025, 3, 10, 10), {"price": "1.5", "product_code": "p", "timestamp": "never"}),  # noqa: DTZ001
    ("8", "cart", SHOP, datetime(2025, 3, 10, 10, 0, 0, 1000), None),  # noqa: DTZ001
]
REFUSED = [("blank_user_id", "", "cart", SHOP), ("future", "9", "cart", SHOP)]


def write(landing: Path) -> None:
    """Write the same rows as a batch of each format."""
    landing.mkdir()
    lines = [";".join(("" if v is None else str(v)) for v in row.values()) for row in ROWS]
    # An empty user is a text, not NULL.
    lines[2] = '""' + lines[2]
    (landing / "2025-03-10.csv").write_text("\n".join([";".join(ROWS[0]), *lines]) + "\n")
    (landing / "2025-03-11.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), landing / "2025-03-12.parquet")


def landed(spark: SparkSession, root: Path, landing: Path, input_format: InputFormat) -> Lake:
    lake = Lake(spark, str(root))
    land(spark, lake, Landing(str(landing), input_format=input_format), DAYS, 5)
    return lake


def raw_rows(lake: Lake, arrival: date) -> list[tuple[Any, ...]]:
    rows = lake.rows(RAW_EVENTS, f"{_FOUR}, attributes", f"_updated_at = DATE'{arrival}'")
    return sorted((*row[:4], dict(sorted(row[4])) if row[4] else None) for row in rows)


def refused_rows(lake: Lake, arrival: date) -> list[tuple[Any, ...]]:
    return sorted(
        lake.rows(RAW_QUARANTINE, "reason, user_id, event_id, product_code", f"_updated_at = DATE'{arrival}'")
    )


_FOUR = "user_id, event_id, product_code, timestamp"


def tables_of(lake: Lake) -> list[list[str]]:
    """Return all rows of both raw tables, but for the text of a refused one."""
    columns = f"_updated_at, {_FOUR}, timestamp_text, attributes, source_file"
    return [
        sorted(map(repr, lake.rows(table, columns if table == RAW_EVENTS else f"reason, {columns}")))
        for table in (RAW_EVENTS, RAW_QUARANTINE)
    ]


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input_format") / "landing"
    write(folder)
    return folder


@pytest.fixture(scope="module")
def with_names(spark: SparkSession, landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake into which the batches have landed under their own names."""
    folder = tmp_path_factory.mktemp("with_names") / "lake"
    landed(spark, folder, landing, _with_semicolons(FORMAT))
    return folder


def _with_semicolons(input_format: InputFormat) -> InputFormat:
    return input_format.with_separator_of(InputFormat(csv_separator=";"))


@pytest.mark.parametrize("number", range(3), ids=["csv", "jsonl", "parquet"])
def test_columns_are_found_by_the_names_of_the_source(number: int, with_names: Path, spark: SparkSession) -> None:
    """The mapping wins over a column of the own name, which is an attribute; a constant needs no column."""
    lake = Lake(spark, str(with_names))
    assert raw_rows(lake, day(number)) == ACCEPTED
    assert refused_rows(lake, day(number)) == REFUSED


def test_names_are_found_in_any_case_and_two_of_them_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "landing"
    folder.mkdir()
    (folder / "2025-03-10.csv").write_text(f"VISITOR ID , Event.Type,AT\n7,view,{AT}\n")
    (folder / "2025-03-11.jsonl").write_text(json.dumps({" visitor id": "7", "EVENT.TYPE": "view", "At": AT}))
    lake = Lake(spark, str(tmp_path / "lake"))
    batches = Landing(str(folder), input_format=FORMAT)
    land(spark, lake, batches, DAYS[:2], 5)
    assert raw_rows(lake, day(0)) == raw_rows(lake, day(1)) == [(*ACCEPTED[0][:4], None)]

    (folder / "2025-03-12.csv").write_text(f"Visitor Id,event.type,at,AT\n7,view,{AT},1\n")
    with pytest.raises(DeliveryError, match=r"2025-03-12.csv has column at for timestamp twice: .* found Visitor Id,"):
        land(spark, lake, batches, [day(2)], 5)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_name_that_is_not_there_is_refused_before_anything_is_written(
    suffix: str, landing: Path, spark: SparkSession, tmp_path: Path
) -> None:
    """The sentence names the file, what was looked for, and what is there."""
    lake = Lake(spark, str(tmp_path / "lake"))
    wrong = _with_semicolons(InputFormat(COLUMNS | {"event_id": "action"}, FORMAT.constants))
    (file,) = landing.glob(f"*.{suffix}")
    with pytest.raises(DeliveryError) as refused:
        land(spark, lake, Landing(str(landing), input_format=wrong), [date.fromisoformat(file.stem)], 5)
    assert str(refused.value) == (
        f"file://{file} lacks column action for event_id: expected Visitor Id, action, at; "
        "found Visitor Id, event.type, at, product_code, timestamp, price"
    )
    assert lake.find(RAW_EVENTS) is None
    assert lake.ledger.entries() == {}


def landed_days(lake: Lake, landing: Path, input_format: InputFormat) -> Mapping[date, LandedDay]:
    return land(lake.spark, lake, Landing(str(landing), input_format=input_format), [day(0)], 5)


def test_a_day_lands_anew_under_other_settings_of_the_input(
    landing: Path, with_names: Path, spark: SparkSession, tmp_path: Path
) -> None:
    shutil.copytree(with_names, tmp_path / "lake")
    lake = Lake(spark, str(tmp_path / "lake"))
    version = lake.version(RAW_EVENTS)
    landed_days(lake, landing, _with_semicolons(FORMAT))
    assert lake.version(RAW_EVENTS) == version
    other = InputFormat(COLUMNS, {"product_code": "another"}, ";", "ms")
    landed_days(lake, landing, other)
    assert lake.version(RAW_EVENTS) == version + 1
    assert {row[2] for row in raw_rows(lake, day(0))} == {"another"}
    landed_days(lake, landing, other)
    assert lake.version(RAW_EVENTS) == version + 1


def test_names_judged_again_give_what_landing_again_gives(
    landing: Path, with_names: Path, spark: SparkSession, tmp_path: Path
) -> None:
    """From the raw rows alone: other columns, another constant, another unit; what was mapped is an attribute again."""
    shutil.copytree(with_names, tmp_path / "lake")
    lake = Lake(spark, str(tmp_path / "lake"))
    other = _with_semicolons(
        InputFormat(
            {"user_id": "event.type", "product_code": "PRODUCT_CODE", "timestamp": "at"},
            {"event_id": "any"},
            timestamp_unit="us",
        )
    )
    before = tables_of(lake)
    assert list(rejudge(spark, lake, [], 10**5, other)) == DAYS
    assert rejudge(spark, lake, [], 10**5, other) == {}
    (text,) = lake.rows(RAW_QUARANTINE, "raw_text", "reason = 'blank_product_code' AND _updated_at = DATE'2025-03-10'")
    wanted = Lake(spark, str(tmp_path / "wanted"))
    land(spark, wanted, Landing(str(landing), input_format=other), DAYS, 10**5)
    assert tables_of(lake) == tables_of(wanted) != before
    assert lake.ledger.entries()[day(0)].input_format == other.as_json()
    assert json.loads(text[0]) == {"Visitor Id": "8", "event.type": "cart", "at": str(AT + 1)}


def test_judging_under_other_names_can_be_interrupted(
    with_names: Path, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its two commits: the names of the first reading are still known, and no row is lost."""
    shutil.copytree(with_names, tmp_path / "lake")
    shutil.copytree(with_names, tmp_path / "whole")
    lake, whole = Lake(spark, str(tmp_path / "lake")), Lake(spark, str(tmp_path / "whole"))
    other = InputFormat({"user_id": "product_code", "event_id": "event.type", "timestamp": "at"}, SHOP_ONLY, ";", "ms")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(land_module, "_write_quarantine", killed)
    with pytest.raises(KeyboardInterrupt):
        rejudge(spark, lake, [day(0)], 5, other)
    monkeypatch.undo()
    rejudge(spark, lake, [day(0)], 5, other)
    rejudge(spark, whole, [day(0)], 5, other)
    assert tables_of(lake) == tables_of(whole)
    assert {row[0] for row in raw_rows(lake, day(0))} == {"p", "q"}


def test_one_column_may_be_two_and_a_day_without_rows_is_judged_too(spark: SparkSession, tmp_path: Path) -> None:
    """The column that is named now is known from refused rows alone."""
    folder = tmp_path / "landing"
    folder.mkdir()
    (folder / "2025-03-10.csv").write_text("user_id,at,kind,evt\n7,2025-03-10 10:00:00,view,\n")
    (folder / "2025-03-11.csv").write_text("user_id,at,evt\n")
    before = InputFormat({"event_id": "evt", "product_code": "evt", "timestamp": "at"})
    lake = Lake(spark, str(tmp_path / "lake"))
    land(spark, lake, Landing(str(folder), input_format=before), DAYS[:2], 5)
    assert raw_rows(lake, day(0)) == []
    now = InputFormat({"event_id": "kind", "product_code": "KIND", "timestamp": "at"})
    assert [numbers.rows_accepted for numbers in rejudge(spark, lake, [], 5, now).values()] == [1, 0]
    assert raw_rows(lake, day(0)) == [("7", "view", "view", datetime(2025, 3, 10, 10), None)]  # noqa: DTZ001
    rejudge(spark, lake, [], 0, now)
    (folder / "2025-03-12.csv").write_text("a,a,a.1,event_id,product_code,timestamp\n1,2,3,e,p,2025-03-12 10:00:00\n")
    land(spark, lake, Landing(str(folder), input_format=InputFormat({"user_id": "a.1"})), [day(2)], 5)
    assert [(row[0], row[4]) for row in raw_rows(lake, day(2))] == [("3", {"a": "1", "a.1": "2"})]


def test_names_that_the_raw_rows_do_not_have_are_refused(with_names: Path, spark: SparkSession, tmp_path: Path) -> None:
    shutil.copytree(with_names, tmp_path / "lake")
    lake = Lake(spark, str(tmp_path / "lake"))
    before = lake.ledger.entries()
    with pytest.raises(
        LakeError, match=r"the rows of 2025-03-10 lack column who; found Visitor Id, at, event.type, pr"
    ):
        rejudge(spark, lake, [], 5, InputFormat({**COLUMNS, "user_id": "who"}, FORMAT.constants))
    with pytest.raises(LakeError, match="2025-03-12 has times of Parquet, which under these settings can be read"):
        rejudge(spark, lake, [day(2)], 5, InputFormat({**COLUMNS, "timestamp": "timestamp"}, FORMAT.constants))
    assert lake.ledger.entries() == before


LOCAL = InputFormat(time_zone="Europe/Berlin")
HEADER = "user_id,event_id,product_code,timestamp\n"


def write_local_times(folder: Path) -> None:
    """Write a day of local times around a change of the clocks, in each format."""
    folder.mkdir()
    times = ["2025-10-26 02:30:00", "2025-10-26 02:30:00+01:00", "2025-10-26 04:00:00.5"]
    (folder / "2025-10-26.csv").write_text(HEADER + "".join(f"u,a,I,{time}\n" for time in times))
    moments = [datetime.fromisoformat(time) for time in (times[0], times[2])]
    names = ["user_id", "event_id", "product_code", "timestamp"]
    (folder / "2025-10-27").mkdir()
    for unit in ("ms", "us", "ns"):
        columns = [[unit] * 2, ["a"] * 2, ["I"] * 2, pa.array(moments, pa.timestamp(unit))]
        pq.write_table(pa.table(columns, names), folder / "2025-10-27" / f"{unit}.parquet")
        with_zone = [[f"{unit} UTC"] * 2, ["a"] * 2, ["I"] * 2, pa.array(moments, pa.timestamp(unit, "UTC"))]
        pq.write_table(pa.table(with_zone, names), folder / "2025-10-27" / f"{unit}-utc.parquet")


def times_by_user(lake: Lake) -> dict[str, list[str]]:
    rows = sorted(lake.rows(RAW_EVENTS, "user_id, timestamp"))
    users = sorted({user for user, _ in rows})
    return {user: [time.isoformat() for name, time in rows if name == user] for user in users}


def test_a_zone_that_java_does_not_know_fails_the_run_in_one_sentence(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "landing"
    write_local_times(folder)
    deployment = Deployment(spark, tmp_path / "lake", folder, time_zone="Atlantis")
    run = deployment.materialize(date(2025, 10, 26), only=["raw_events"])
    sentence = "SESSIONS_TIME_ZONE='Atlantis': the Java that runs Spark does not know this zone, or not yet"
    assert failure_of(run) == sentence
    assert deployment.lake.ledger.entries() == {}


def test_a_local_time_of_parquet_is_no_number(spark: SparkSession, tmp_path: Path) -> None:
    """Under a unit it is quarantined; a point in time is what it is."""
    folder = tmp_path / "landing"
    write_local_times(folder)
    lake = Lake(spark, str(tmp_path / "lake"))
    in_units = Landing(str(folder), input_format=InputFormat(timestamp_unit="ms"))
    (numbers,) = land(spark, lake, in_units, [date(2025, 10, 27)], 5).values()
    assert (numbers.rows_accepted, numbers.quarantined) == (6, {"unparsable_timestamp": 6})


def test_local_times_are_converted_counted_and_judged_again(spark: SparkSession, tmp_path: Path) -> None:
    """Text and Parquet's times without a zone; what has an offset, or is a point in time, stays what it is."""
    folder, days = tmp_path / "landing", [date(2025, 10, 26), date(2025, 10, 27)]
    write_local_times(folder)
    lake = Lake(spark, str(tmp_path / "lake"))
    numbers = land(spark, lake, Landing(str(folder), input_format=LOCAL), days, 5)
    local = ["2025-10-26T00:30:00", "2025-10-26T03:00:00.500000"]
    utc = ["2025-10-26T02:30:00", "2025-10-26T04:00:00.500000"]
    of_parquet = dict.fromkeys(("ms", "us", "ns"), local) | {f"{unit} UTC": utc for unit in ("ms", "us", "ns")}
    assert times_by_user(lake) == of_parquet | {"u": [local[0], "2025-10-26T01:30:00", local[1]]}
    assert [(n.ambiguous_times, n.missing_times) for n in numbers.values()] == [(1, 0), (3, 0)]
    again = land(spark, lake, Landing(str(folder), input_format=LOCAL), days, 5)
    assert again == numbers

    judged = rejudge(spark, lake, [], 5)
    assert times_by_user(lake) == of_parquet | dict.fromkeys(("ms", "us", "ns"), utc) | {
        "u": ["2025-10-26T01:30:00", *utc]
    }
    assert [(n.ambiguous_times, n.missing_times) for n in judged.values()] == [(None, None)] * 2
    assert list(rejudge(spark, lake, [], 5, LOCAL).values()) == list(numbers.values())
    assert times_by_user(lake)["ns"] == local
