"""Reading a batch: every format gives the same rows, bad rows go to quarantine, bad files fail and write nothing."""

import gzip
import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from sessions_assets.lake import raw
from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.tables import RAW_EVENTS, RAW_QUARANTINE, Table
from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import commit, compute, land, plan_land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import DAY_0, day

HEADER = "user_id,event_id,product_code,timestamp\n"
ROWS = "007,a,I,2025-03-10 10:00:00.000001\n7,x,I,2025-03-10T12:00:00+02:00\n"
EXPECTED = [("007", "a", "I", "2025-03-10 10:00:00.000001"), ("7", "x", "I", "2025-03-10 10:00:00")]


def land_files(
    lake: Lake, folder: Path, files: dict[str, str | bytes], *, days: int = 1, lateness_days: int = 5
) -> None:
    for name, content in files.items():
        path = folder / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    land(lake.spark, lake, Landing(str(folder / "landing")), [day(number) for number in range(days)], lateness_days)


def raw_rows(lake: Lake, arrival: date = DAY_0) -> list[tuple[str, ...]]:
    rows = lake.rows(RAW_EVENTS, "user_id, event_id, product_code, timestamp", _of(arrival))
    return sorted((*texts, _shown(moment)) for *texts, moment in rows)


def _of(arrival: date) -> str:
    return f"_updated_at = DATE'{arrival}'"


def _shown(moment: datetime) -> str:
    text = moment.isoformat(" ")
    return text.rstrip("0") if moment.microsecond else text


def nothing_is_there(lake: Lake) -> bool:
    """Return whether neither the ledger nor a table holds a row; empty tables may exist."""
    kept = [*lake.count_rows(RAW_EVENTS, [DAY_0]).values(), *lake.count_rows(RAW_QUARANTINE, [DAY_0]).values()]
    return (lake.ledger.entries(), kept) == ({}, [0, 0])


def quarantined(lake: Lake, arrival: date = DAY_0) -> list[tuple[str, str]]:
    return sorted(lake.rows(RAW_QUARANTINE, "reason, raw_text", _of(arrival)))


def as_json(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


EVENTS_AS_JSON = as_json(
    {"timestamp": "2025-03-10 10:00:00.000001", "user_id": "007", "event_id": "a", "product_code": "I"},
    {"user_id": 7, "event_id": "x", "product_code": "I", "timestamp": "2025-03-10T12:00:00+02:00", "more": {"n": [1]}},
)

# The name of each file goes behind its day: `2025-03-10` and `.csv`, or `/part-0.csv` in a folder.
FORMATS: dict[str, dict[str, str | bytes]] = {
    "csv": {".csv": HEADER + ROWS},
    "csv.gz": {".csv.gz": gzip.compress((HEADER + ROWS).encode())},
    "jsonl": {".jsonl": EVENTS_AS_JSON},
    "jsonl.gz": {".jsonl.gz": gzip.compress(EVENTS_AS_JSON.encode())},
    "folder of parts": {
        "/part-0.csv": HEADER + ROWS.splitlines()[0],
        "/part-1.csv": "timestamp,product_code,event_id,user_id\n2025-03-10T12:00:00+02:00,I,x,7\n",
        "/_SUCCESS": "",
        "/.part-0.csv.crc": b"\x00",
    },
    "folder of mixed parts, named like another day": {
        "/2025-03-01.csv": HEADER + ROWS.splitlines()[0],
        "/b.jsonl": EVENTS_AS_JSON.splitlines()[1],
    },
    "other column order, additional column": {
        ".csv": "timestamp,more,product_code,event_id,user_id\n"
        "2025-03-10 10:00:00.000001,1,I,a,007\n2025-03-10T12:00:00+02:00,,I,x,7\n"
    },
    "BOM, CRLF, quotes, header in another case": {
        ".csv": "\ufeff" + '"User_ID", EVENT_ID,product_code,timestamp\r\n' + ROWS.replace("\n", "\r\n")
    },
    "names that look like patterns": {
        "/p[1].csv": HEADER + ROWS.splitlines()[0],
        "/p1.csv": HEADER + ROWS.splitlines()[1],
    },
    "names with blanks and signs": {
        "/a b%20c+d.csv": HEADER + ROWS.splitlines()[0],
        "/a b#c?.csv": HEADER + ROWS.splitlines()[1],
    },
    "header again in the middle, blank lines": {
        ".csv": HEADER + ROWS.splitlines()[0] + "\n\n" + HEADER + ROWS.splitlines()[1] + "\n\n"
    },
}
PARQUET = {
    "parquet with text": "user_id string, event_id string, product_code string, timestamp string",
    "parquet with instants": "product_code string, user_id string, event_id string, timestamp timestamp",
    "parquet with local times": "user_id string, event_id string, product_code string, timestamp timestamp_ntz, n int",
}
ALL_FORMATS = [*FORMATS, *PARQUET]


def parquet_file(spark: SparkSession, folder: Path, types: str) -> bytes:
    rows = spark.createDataFrame([("007", "a", "I", EXPECTED[0][3], 1), ("7", "x", "I", EXPECTED[1][3], 1)])
    rows = rows.toDF("user_id", "event_id", "product_code", "timestamp", "n")
    columns = [column.split() for column in types.split(", ")]
    rows.selectExpr(*[f"cast({name} as {kind}) as {name}" for name, kind in columns]).coalesce(1).write.parquet(
        str(folder)
    )
    return next(folder.glob("*.parquet")).read_bytes()


@pytest.fixture(scope="module")
def formats_lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Every format lands as a day of its own, all in one run."""
    folder = tmp_path_factory.mktemp("formats")
    formats = FORMATS | {n: {".parquet": parquet_file(spark, folder / n, types)} for n, types in PARQUET.items()}
    files = {f"{day(i)}{name}": text for i, f in enumerate(ALL_FORMATS) for name, text in formats[f].items()}
    lake = Lake(spark, str(folder / "lake"))
    land_files(lake, folder, files, days=len(ALL_FORMATS), lateness_days=len(ALL_FORMATS))
    return lake


def test_the_file_of_a_row_is_as_it_is_named(formats_lake: Lake) -> None:
    """Spark writes it with escapes."""
    rows = formats_lake.read_days(RAW_EVENTS, [day(ALL_FORMATS.index("names with blanks and signs"))]).collect()
    assert {row["source_file"].rpartition("/")[2] for row in rows} == {"a b%20c+d.csv", "a b#c?.csv"}


@pytest.mark.parametrize("name", ALL_FORMATS)
def test_every_format_gives_the_same_rows(name: str, formats_lake: Lake) -> None:
    arrival = day(ALL_FORMATS.index(name))
    assert raw_rows(formats_lake, arrival) == EXPECTED
    assert quarantined(formats_lake, arrival) == []


BAD_CSV = {
    " ,a,I,2025-03-10 10:00:00": "blank_user_id",
    '1,"",I,2025-03-10 10:00:00': "blank_event_id",
    "1,a,\u00a0,2025-03-10 10:00:00": "blank_product_code",
    "1,a,I,": "blank_timestamp",
    "1,a,I,yesterday": "unparsable_timestamp",
    "1,a,I,2025-03-10": "unparsable_timestamp",
    "1,a,I,10:00:00": "unparsable_timestamp",
    "1,a,I,2025-02-30 10:00:00": "unparsable_timestamp",
    "1,a,I,1741600800": "unparsable_timestamp",
    "1,a,I,2025-03-10 10:00:00 Europe/Berlin": "unparsable_timestamp",
    "1,a,I": "unparsable_row",
    "1,a,I,2025-03-10 10:00:00,more": "unparsable_row",
    '"1,a,I,2025-03-10 10:00:00': "unparsable_row",
    '2,a,I,"2025-03-10 10:00:00': "unparsable_row",
    "1,a,I,2025-03-04 23:59:59.999999": "too_late",
    "1,a,I,2025-03-12 00:00:00": "future",
    "1,a,I,2025-03-11T23:00:00-01:00": "future",
}
GOOD_CSV = {
    "1,a,I,2025-03-05 00:00:00": "2025-03-05 00:00:00",
    "1,b,I,2025-03-11 23:59:59.999999": "2025-03-11 23:59:59.999999",
    "1,c,I,2025-03-10 10:00:00Z": "2025-03-10 10:00:00",
    "1,d,I,2025-03-10 10:00:00.1234569": "2025-03-10 10:00:00.123456",
    "1,e,I,2025-03-10 10:00": "2025-03-10 10:00:00",
    "1,f,I,2025-03-10T10:00:00-0330": "2025-03-10 13:30:00",
    '1,"g",I,"2025-03-10 10:00:00 UTC"': "2025-03-10 10:00:00",
}


GOOD_JSON = as_json({"user_id": "1", "event_id": "a", "product_code": "I", "timestamp": "2025-03-10 10:00:00"}).strip()
BAD_JSON = {
    GOOD_JSON[:-1]: "unparsable_row",
    GOOD_JSON + GOOD_JSON: "unparsable_row",
    GOOD_JSON + "," + GOOD_JSON: "unparsable_row",
    GOOD_JSON + "] x": "unparsable_row",
    '{"user_id": ' + "9" * 5000 + "}": "unparsable_row",
    "[1]": "unparsable_row",
    "null": "unparsable_row",
    '{"event_id": "a"}': "blank_user_id",
}


@pytest.fixture(scope="module")
def bad_lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Day 0 is csv, day 1 JSON, day 2 has bytes that are not UTF-8."""
    folder = tmp_path_factory.mktemp("bad_rows")
    lake = Lake(spark, str(folder / "lake"))
    files: dict[str, str | bytes] = {
        "2025-03-10.csv": HEADER + "\n".join([*BAD_CSV, *GOOD_CSV]) + "\n",
        "2025-03-11.jsonl": "\n".join([GOOD_JSON, *BAD_JSON]),
        "2025-03-12.csv": (HEADER + ROWS).encode() + b"\xff,a,I,2025-03-10 10:00:00\n",
        "2025-03-13.jsonl": (GOOD_JSON + "\n").encode() + b'{"user_id": "\xff"}\n',
    }
    land_files(lake, folder, files, days=4)
    return lake


def test_each_bad_row_is_quarantined_with_its_reason_and_raw_text(bad_lake: Lake) -> None:
    assert quarantined(bad_lake) == sorted((reason, text) for text, reason in BAD_CSV.items())
    files = {row["source_file"].rsplit("/", 1)[-1] for row in bad_lake.read_days(RAW_QUARANTINE, [day(0)]).collect()}
    assert files == {"2025-03-10.csv"}


def test_the_rest_of_the_batch_goes_on(bad_lake: Lake) -> None:
    assert [row[3] for row in raw_rows(bad_lake)] == list(GOOD_CSV.values())


def test_bad_json_rows_are_quarantined_whole(bad_lake: Lake) -> None:
    assert raw_rows(bad_lake, day(1)) == [("1", "a", "I", "2025-03-10 10:00:00")]
    assert quarantined(bad_lake, day(1)) == sorted((reason, text) for text, reason in BAD_JSON.items())


def test_bytes_that_are_not_utf8_are_quarantined(bad_lake: Lake) -> None:
    assert raw_rows(bad_lake, day(2)) == EXPECTED
    assert quarantined(bad_lake, day(2)) == [("invalid_utf8", "\ufffd,a,I,2025-03-10 10:00:00")]
    assert raw_rows(bad_lake, day(3)) == [("1", "a", "I", "2025-03-10 10:00:00")]
    assert quarantined(bad_lake, day(3)) == [("invalid_utf8", '{"user_id": "\ufffd"}')]


def test_the_numbers_of_a_day(bad_lake: Lake) -> None:
    """The ledger's numbers add up: delivered is accepted and quarantined."""
    entry = bad_lake.ledger.entries([day(0)])[day(0)]
    assert (entry.rows_delivered, entry.rows_accepted, entry.rows_quarantined) == (24, 7, 17)


def parquet_of_users(spark: SparkSession, folder: Path, user: str) -> bytes:
    rows = f"SELECT {user} AS user_id, 'a' AS event_id, 'I' AS product_code, '2025-03-10 10:00:00' AS timestamp"
    spark.sql(f"{rows}, 1 AS `o``dd`").coalesce(1).write.parquet(str(folder))
    return next(folder.glob("*.parquet")).read_bytes()


def test_parquet_files_of_other_types_keep_their_own(spark: SparkSession, lake: Lake, tmp_path: Path) -> None:
    """What a row becomes does not depend on which days are landed together."""
    users = {"2025-03-10.parquet": "7", "2025-03-11.parquet": "7.0D", "2025-03-12.parquet": "'07'"}
    users |= {"2025-03-13.parquet": "X'FF'"}
    files: dict[str, str | bytes] = {
        name: parquet_of_users(spark, tmp_path / str(i), user) for i, (name, user) in enumerate(users.items())
    }
    land_files(lake, tmp_path, files, days=4)
    assert [row[0] for number in range(3) for row in raw_rows(lake, day(number))] == ["7", "7.0", "07"]
    assert raw_rows(lake, day(3)) == []
    assert [reason for reason, _ in quarantined(lake, day(3))] == ["invalid_utf8"]


def test_a_damaged_parquet_file_leaves_ledger_and_raw_as_they_were(
    spark: SparkSession, lake: Lake, tmp_path: Path
) -> None:
    """Damage inside the data shows only while the rows are read."""
    good = parquet_of_users(spark, tmp_path / "made", "'1'")
    damaged = good[:4] + bytes(36) + good[40:]
    with pytest.raises(DeliveryError, match=r"2025-03-10.parquet cannot be read"):
        land_files(lake, tmp_path, {"2025-03-10.parquet": damaged})
    assert lake.ledger.entries([day(0)]) == {}
    land_files(lake, tmp_path, {"2025-03-10.parquet": good})
    before = lake.ledger.entries([day(0)])
    with pytest.raises(DeliveryError, match=r"2025-03-10.parquet cannot be read"):
        land_files(lake, tmp_path, {"2025-03-10.parquet": damaged})
    assert lake.ledger.entries([day(0)]) == before
    assert len(raw_rows(lake)) == 1


def test_a_wider_lateness_accepts_what_was_too_late(lake: Lake, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"2025-03-10.csv": HEADER + "1,a,I,2025-03-04 10:00:00\n"}
    land_files(lake, tmp_path, files)
    assert quarantined(lake) == [("too_late", "1,a,I,2025-03-04 10:00:00")]
    land_files(lake, tmp_path, files, lateness_days=6)
    assert (len(raw_rows(lake)), quarantined(lake)) == (1, [])


def test_a_file_that_changes_while_it_is_read_is_noticed(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refused rows that were counted are not those that were kept; the day waits until it is landed again."""
    append_rows = raw.append_rows
    bad = ",a,I,2025-03-10 10:00:00\n"

    def grow(lake: Lake, table: Table, rows: DataFrame) -> None:
        append_rows(lake, table, rows)
        if table is RAW_EVENTS:
            (tmp_path / "landing" / "2025-03-10.csv").write_text(HEADER + bad + bad + ROWS + ROWS)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(raw, "append_rows", grow)
        message = "3 rows were delivered and 1 of them refused, but 2 events and 2 refused rows were kept"
        with pytest.raises(LakeError, match=message):
            land_files(lake, tmp_path, {"2025-03-10.csv": HEADER + ROWS + bad})
    with pytest.raises(LakeError, match="its landing was begun and has not ended"):
        apply(lake.spark, lake, [day(0)], SessionRule())
    land(lake.spark, lake, Landing(str(tmp_path / "landing")), [day(0)], 5)
    entry = lake.ledger.entries()[day(0)]
    assert (entry.rows_delivered, entry.rows_accepted, entry.rows_quarantined) == (6, 4, 2)


REFUSED: dict[str, tuple[dict[str, str | bytes], str]] = {
    "missing batch": (
        {"2025-03-11.csv": HEADER},
        r"no batch of 2025-03-10 in file://.*/landing: expected 2025-03-10\[.csv\|.csv.gz\|",
    ),
    "missing column": (
        {"2025-03-10.csv": "user_id,event_id,timestamp\n1,a,2025-03-10 10:00:00\n"},
        r"2025-03-10.csv lacks column product_code: expected .*; found user_id, event_id, timestamp",
    ),
    "missing column in json": (
        {"2025-03-10.jsonl": as_json({"user_id": "1", "event_id": "a", "timestamp": "2025-03-10 10:00:00"})},
        r"2025-03-10.jsonl lacks column product_code",
    ),
    "column twice": (
        {"2025-03-10.csv": "user_id,USER_ID,event_id,product_code,timestamp\n"},
        r"2025-03-10.csv has column user_id twice",
    ),
    "zero bytes of csv": ({"2025-03-10.csv": ""}, r"2025-03-10.csv lacks column .*; found no header"),
    "no json": ({"2025-03-10.jsonl": "hello\n"}, r"2025-03-10.jsonl: no JSON object in its 1 lines"),
    "truncated gzip": (
        {"2025-03-10.csv.gz": gzip.compress((HEADER + ROWS * 50_000).encode())[:1000]},
        r"2025-03-10.csv.gz",
    ),
    "no gzip": ({"2025-03-10.csv.gz": HEADER}, r"2025-03-10.csv.gz cannot be read"),
    "no parquet": ({"2025-03-10.parquet": "PAR1 it is not"}, r"2025-03-10.parquet cannot be read"),
    "two batches of one day": (
        {"2025-03-10.csv": HEADER, "2025-03-10.jsonl": EVENTS_AS_JSON},
        r"two batches of 2025-03-10 in .*: 2025-03-10.csv and 2025-03-10.jsonl; keep one",
    ),
    "a folder named like a file": (
        {"2025-03-10.csv/part-0.csv": HEADER},
        r"2025-03-10.csv is a folder: expected a file",
    ),
    "strange file in a folder": (
        {"2025-03-10/part-0.csv": HEADER, "2025-03-10/notes.txt": "x"},
        r"2025-03-10 holds notes.txt: expected files ending in .csv",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_batch_that_cannot_be_taken_fails_and_writes_nothing(name: str, lake: Lake, tmp_path: Path) -> None:
    files, message = REFUSED[name]
    with pytest.raises(DeliveryError, match=message):
        land_files(lake, tmp_path, files)
    assert nothing_is_there(lake)


def test_a_missing_landing_is_named(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="nowhere does not exist: expected a folder with batches"):
        land(lake.spark, lake, Landing(str(tmp_path / "nowhere")), [day(0)], 5)


def test_an_empty_batch_is_a_success_with_zero_rows(lake: Lake, tmp_path: Path) -> None:
    """A header alone, or a JSON file without a line, unlike a missing batch (R20)."""
    land_files(lake, tmp_path, {"2025-03-10.csv": HEADER, "2025-03-11.jsonl": ""}, days=3)
    assert lake.read(RAW_EVENTS).count() == 0
    entries = lake.ledger.entries([day(0), day(1), day(2)])
    assert [(arrival, entry.rows_delivered) for arrival, entry in entries.items()] == [(day(0), 0), (day(1), 0)]


def rewritten(path: Path) -> None:
    path.write_text(HEADER + ROWS + ROWS)


def renamed(path: Path) -> None:
    path.rename(path.with_suffix(".csv.gz"))


@pytest.mark.parametrize("change", [rewritten, renamed])
def test_a_fingerprint_changes_with_the_file(change: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "2025-03-10.csv").write_text(HEADER + ROWS)
    landing = Landing(str(tmp_path))
    before = landing.find([day(0)])[day(0)].fingerprint
    assert landing.find([day(0)])[day(0)].fingerprint == before
    change(tmp_path / "2025-03-10.csv")
    assert landing.find([day(0)])[day(0)].fingerprint != before


def test_only_the_name_of_a_day_is_a_batch(tmp_path: Path) -> None:
    """Nothing else of the landing is read, and no name leads out of it."""
    landing = tmp_path / "landing"
    landing.mkdir()
    odd = (
        "..2025-03-10.csv",
        "2025-03-10.csv.bak",
        "x2025-03-10.csv",
        "2025-03-10..csv",
        "2025-03-10%2f..csv",
        "*.csv",
    )
    for name in odd:
        (landing / name).write_text("user_id,event_id,product_code,timestamp\n")
    (tmp_path / "2025-03-10.csv").write_text("user_id,event_id,product_code,timestamp\n")
    assert Landing(str(landing)).look([day(0)]) == ({}, {})


def test_a_new_day_that_two_runs_land_at_once_is_noticed_and_landed_again(lake: Lake, tmp_path: Path) -> None:
    """Without the pool both add the same rows: the later one counts too many, and nobody applies the day."""
    landing = Landing(str(tmp_path / "landing"))
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "2025-03-10.csv").write_text(HEADER + ROWS)
    plans = [plan_land(lake, landing, [day(0)], 5) for _ in range(2)]
    first, second = (compute(lake.spark, landing, plan) for plan in plans)
    commit(lake.spark, lake, plans[0], first)
    with pytest.raises(LakeError, match=r"2 rows were delivered and 0 of them refused, but 4 events .* were kept"):
        commit(lake.spark, lake, plans[1], second)
    with pytest.raises(LakeError, match="raw_events holds 4 rows of 2025-03-10, but its landing was begun"):
        apply(lake.spark, lake, [day(0)], SessionRule())
    land(lake.spark, lake, landing, [day(0)], 5)
    apply(lake.spark, lake, [day(0)], SessionRule())
    assert len(raw_rows(lake)) == 2
