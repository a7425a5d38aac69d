"""What happens when the format of the batches drifts: accepted, quarantined or refused by a stated rule.

The names of the cases are the first column of the table in `docs/input.md`.
"""

import gzip
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.tables import RAW_EVENTS
from sessions_assets.landing.batches import DeliveryError
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import day
from sessions_assets_tests.test_landing import HEADER, as_json, land_files, nothing_is_there, quarantined, raw_rows

EVENT = ("7", "a", "I", "2025-03-10 10:00:00.000001")
LINE = ",".join(EVENT) + "\n"
LONG = "u" * (1 << 20)
TWICE = '{"user_id": "7", "more": 1, "more": 2}'

Files = dict[str, str | bytes]
Rows = list[tuple[str, ...]]


def json_line(**values: str) -> str:
    """Write the event as an object, with these JSON texts in place of its own or beside them."""
    texts = {name: f'"{value}"' for name, value in zip(HEADER.strip().split(","), EVENT, strict=True)} | values
    return "{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()) + "}\n"


# Of each case its files, as a day of its own; the rows in raw_events; reasons and texts in quarantine.
TEXT: dict[str, tuple[Files, Rows, Rows]] = {
    "an additional column": ({".csv": f"more,{HEADER}1,{LINE}"}, [EVENT], []),
    "columns in another order": ({".csv": f"timestamp,user_id,event_id,product_code\n{EVENT[3]},7,a,I\n"}, [EVENT], []),
    "names in another case, or with blanks": (
        {".csv": f" User_ID,EVENT_ID , product_code,Timestamp\n{LINE}"},
        [EVENT],
        [],
    ),
    "a byte order mark": ({".csv": f"\ufeff{HEADER}{LINE}"}, [EVENT], []),
    "lines that end in CR LF": ({".csv": (HEADER + LINE).replace("\n", "\r\n")}, [EVENT], []),
    "a new line inside quotes": (
        {".csv": f'{HEADER}{LINE}1,a,"I\nJ",2025-03-10 10:00:00\n'},
        [("1", "a", "I\nJ", "2025-03-10 10:00:00"), EVENT],
        [],
    ),
    "bytes that are not UTF-8": (
        {".csv": f"{HEADER}{LINE}".encode() + b"\xe9,a,I,2025-03-10 10:00:00\n"},
        [EVENT],
        [("invalid_utf8", "\ufffd,a,I,2025-03-10 10:00:00")],
    ),
    "a field of 1 MB": ({".csv": f"{HEADER}{LONG},a,I,{EVENT[3]}\n"}, [(LONG, *EVENT[1:])], []),
    "a gzip file with zero bytes after its data, up to 2 GB": (
        {".csv.gz": gzip.compress((HEADER + LINE).encode()) + bytes(512)},
        [EVENT],
        [],
    ),
    "JSON: a number instead of text": (
        {".jsonl": as_json({"user_id": 7, "event_id": "a", "product_code": "I", "timestamp": EVENT[3]})},
        [EVENT],
        [],
    ),
    "JSON: a name is missing in some rows": (
        {".jsonl": as_json(dict(zip(HEADER.strip().split(","), EVENT, strict=True)), {"event_id": "a"})},
        [EVENT],
        [("blank_user_id", '{"event_id": "a"}')],
    ),
    "JSON: an additional object or list": ({".jsonl": json_line(more='{"n": [7.10, "x"]}')}, [EVENT], []),
    "JSON: additional names that differ only in case": ({".jsonl": json_line(more='"1"', More="2")}, [EVENT], []),
    "JSON: an object, a list, `true` or `false` as id": (
        {".jsonl": json_line() + json_line(user_id="[7]")},
        [EVENT],
        [("unparsable_row", json_line(user_id="[7]").strip())],
    ),
    "JSON: a name twice in one object": (
        {".jsonl": json_line() + TWICE},
        [EVENT],
        [("unparsable_row", TWICE)],
    ),
    "JSON: an escape of half a surrogate pair": (
        {".jsonl": json_line() + json_line(user_id=r'"\ud83d"')},
        [EVENT],
        [("invalid_utf8", json_line(user_id=r'"\ud83d"').strip())],
    ),
    "a JSON file of zero bytes": ({".jsonl": b""}, [], []),
}


def parquet_file(types: dict[str, pa.DataType], values: tuple[object, ...], compression: str = "snappy") -> bytes:
    """Write one row as pandas would."""
    file = BytesIO()
    columns = [pa.array([value], kind) for value, kind in zip(values, types.values(), strict=True)]
    pq.write_table(pa.table(columns, names=list(types)), file, compression=compression)
    return file.getvalue()


# Of each case the types of a Parquet file and the values of its row.
MOMENT = 1_741_600_800_000_001
TEXTS = dict.fromkeys(("user_id", "event_id", "product_code"), pa.string())
TIMED = TEXTS | {"timestamp": pa.timestamp("us")}
PARQUET: dict[str, tuple[dict[str, pa.DataType], tuple[object, ...]]] = {
    "Parquet: whole numbers as ids": (TEXTS | {"user_id": pa.int32(), "timestamp": pa.string()}, (7, *EVENT[1:])),
    "Parquet: timestamps with a zone": (
        TEXTS | {"timestamp": pa.timestamp("us", "Europe/Berlin")},
        (*EVENT[:3], MOMENT),
    ),
    "Parquet: timestamps without a zone": (TEXTS | {"timestamp": pa.timestamp("us")}, (*EVENT[:3], MOMENT)),
    "Parquet: timestamps in nanoseconds": (
        TEXTS | {"timestamp": pa.timestamp("ns")},
        (*EVENT[:3], MOMENT * 1000 + 999),
    ),
    "Parquet: additional lists, maps or structs": (
        TIMED | {"l": pa.list_(pa.int32()), "m": pa.map_(pa.string(), pa.int32()), "s": pa.struct({"n": pa.float64()})},
        (*EVENT[:3], MOMENT, [1, None], [("k", 1)], {"n": 1.5}),
    ),
    "Parquet: additional types that Spark does not read": (
        TIMED | {"id": pa.uuid(), "at": pa.time64("us")},
        (*EVENT[:3], MOMENT, bytes(range(16)), 36_000_500_000),
    ),
    "Parquet: additional names that differ only in case": (
        TIMED | {"more": pa.string(), "More": pa.int32()},
        (*EVENT[:3], MOMENT, "1", 2),
    ),
}
# Of each case also the reason.
QUARANTINED: dict[str, tuple[dict[str, pa.DataType], tuple[object, ...], str]] = {
    # Its unit is not stated: seconds, milliseconds or microseconds.
    "Parquet: a plain number as timestamp": (
        TEXTS | {"timestamp": pa.int64()},
        (*EVENT[:3], MOMENT),
        "unparsable_timestamp",
    ),
    "Parquet: a time in no year of four digits": (
        TEXTS | {"timestamp": pa.timestamp("ms")},
        (*EVENT[:3], 2**63 - 1),
        "future",
    ),
}
CASES = [*TEXT, *PARQUET, *QUARANTINED]
# What is kept beside the event, of the cases in which that matters.
ATTRIBUTES = {
    "an additional column": {"more": "1"},
    "columns in another order": None,
    "JSON: a name is missing in some rows": None,
    "JSON: an additional object or list": {"more": '{"n":[7.10,"x"]}'},
    "JSON: additional names that differ only in case": {"more": "1", "More": "2"},
    "Parquet: whole numbers as ids": None,
    "Parquet: additional lists, maps or structs": {"l": "[1,null]", "m": '{"k":1}', "s": '{"n":1.5}'},
    "Parquet: additional types that Spark does not read": {
        "id": "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "at": "10:00:00.5",
    },
    "Parquet: additional names that differ only in case": {"more": "1", "More": "2"},
}
LIST = (TEXTS | {"user_id": pa.list_(pa.int32()), "timestamp": pa.timestamp("us")}, ([7], *EVENT[1:3], MOMENT))
REFUSED: dict[str, tuple[Files, str]] = {
    "a column is missing": ({".csv": "user_id,event_id,timestamp\n"}, r"2025-03-10.csv lacks column product_code"),
    "a truncated gzip file": (
        {".csv.gz": gzip.compress((HEADER + LINE * 50_000).encode())[:1000]},
        r"2025-03-10.csv.gz cannot be read",
    ),
    "a gzip file of zero bytes": ({".jsonl.gz": b""}, r"2025-03-10.jsonl.gz cannot be read: no byte in it"),
    "a CSV file of zero bytes": ({".csv": b""}, r"2025-03-10.csv lacks column .*; found no header"),
    "a Parquet file of zero bytes": ({".parquet": b""}, r"2025-03-10.parquet cannot be read"),
    "Parquet: a compression that is not listed above": (
        {".parquet": parquet_file(TIMED, (*EVENT[:3], MOMENT), "brotli")},
        r"2025-03-10.parquet is compressed by brotli: expected one of gzip, lz4, lz4_raw, snappy, uncompressed, zstd",
    ),
}
NESTED = "Parquet: lists, maps or structs in one of the four"


@pytest.fixture(scope="module")
def drifted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Every case that is taken is a day of its own; all land in one run."""
    folder = tmp_path_factory.mktemp("drift")
    cases = [files for files, _, _ in TEXT.values()]
    made = [*PARQUET.values(), *[(types, values) for types, values, _ in QUARANTINED.values()]]
    cases += [{".parquet": parquet_file(*case)} for case in made]
    files = {f"{day(i)}{name}": content for i, case in enumerate(cases) for name, content in case.items()}
    lake = Lake(spark, str(folder / "lake"))
    land_files(lake, folder, files, days=len(cases), lateness_days=len(cases))
    return lake


@pytest.mark.parametrize("name", TEXT)
def test_text_that_drifts(name: str, drifted: Lake) -> None:
    arrival = day(CASES.index(name))
    assert (raw_rows(drifted, arrival), quarantined(drifted, arrival)) == TEXT[name][1:]


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_types_that_drift(name: str, drifted: Lake) -> None:
    """What is finer than a microsecond is cut off, as in text."""
    arrival = day(CASES.index(name))
    assert (raw_rows(drifted, arrival), quarantined(drifted, arrival)) == ([EVENT], [])


@pytest.mark.parametrize("name", QUARANTINED)
def test_parquet_types_that_are_no_time(name: str, drifted: Lake) -> None:
    arrival = day(CASES.index(name))
    assert raw_rows(drifted, arrival) == []
    assert [reason for reason, _ in quarantined(drifted, arrival)] == [QUARANTINED[name][-1]]


def test_what_comes_beside_the_four_is_kept(drifted: Lake) -> None:
    """As text, by its name (R23)."""
    names = {day(number): name for number, name in enumerate(CASES)}
    kept = {names[row["_updated_at"]]: row["attributes"] for row in drifted.read(RAW_EVENTS).collect()}
    assert {name: kept[name] for name in ATTRIBUTES} == ATTRIBUTES


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name: str, lake: Lake, tmp_path: Path) -> None:
    files, message = REFUSED[name]
    with pytest.raises(DeliveryError, match=message):
        land_files(lake, tmp_path, {f"2025-03-10{suffix}": content for suffix, content in files.items()})
    assert nothing_is_there(lake)


def test_nested_parquet_columns_are_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match=r"2025-03-10.parquet has user_id array<int>: expected text, numbers or"):
        land_files(lake, tmp_path, {"2025-03-10.parquet": parquet_file(*LIST)})
    assert not (tmp_path / "lake").exists()
