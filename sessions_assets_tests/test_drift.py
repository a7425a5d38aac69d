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

from sessions_assets.landing.batches import DeliveryError
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import day
from sessions_assets_tests.test_landing import HEADER, as_json, land_files, nothing_is_there, quarantined, raw_rows

EVENT = ("7", "a", "I", "2025-03-10 10:00:00.000001")
LINE = ",".join(EVENT) + "\n"
LONG = "u" * (1 << 20)

Files = dict[str, str | bytes]
Rows = list[tuple[str, ...]]

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
        [EVENT],
        [("unparsable_row", '1,a,"I'), ("unparsable_row", 'J",2025-03-10 10:00:00')],
    ),
    "bytes that are not UTF-8": (
        {".csv": f"{HEADER}{LINE}".encode() + b"\xe9,a,I,2025-03-10 10:00:00\n"},
        [EVENT],
        [("invalid_utf8", "\ufffd,a,I,2025-03-10 10:00:00")],
    ),
    "a field of 1 MB": ({".csv": f"{HEADER}{LONG},a,I,{EVENT[3]}\n"}, [(LONG, *EVENT[1:])], []),
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
    "a JSON file of zero bytes": ({".jsonl": b""}, [], []),
}
# Of each case the types of a Parquet file and the values of its row.
MOMENT = 1_741_600_800_000_001
TEXTS = dict.fromkeys(("user_id", "event_id", "product_code"), pa.string())
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
}
PLAIN_NUMBER = (TEXTS | {"timestamp": pa.int64()}, (*EVENT[:3], MOMENT))
LIST = (TEXTS | {"user_id": pa.list_(pa.int32()), "timestamp": pa.timestamp("us")}, ([7], *EVENT[1:3], MOMENT))
A_NUMBER = "Parquet: a plain number as timestamp"
REFUSED: dict[str, tuple[Files, str]] = {
    "a column is missing": ({".csv": "user_id,event_id,timestamp\n"}, r"2025-03-10.csv lacks column product_code"),
    "a truncated gzip file": (
        {".csv.gz": gzip.compress((HEADER + LINE * 50_000).encode())[:1000]},
        r"2025-03-10.csv.gz cannot be read",
    ),
    "a gzip file of zero bytes": ({".jsonl.gz": b""}, r"2025-03-10.jsonl.gz cannot be read: no byte in it"),
    "a CSV file of zero bytes": ({".csv": b""}, r"2025-03-10.csv lacks column .*; found no header"),
    "a Parquet file of zero bytes": ({".parquet": b""}, r"2025-03-10.parquet cannot be read"),
}
NESTED = "Parquet: a column of lists, maps or structs"


def parquet_file(types: dict[str, pa.DataType], values: tuple[object, ...]) -> bytes:
    """Write one row as pandas would."""
    file = BytesIO()
    columns = [pa.array([value], kind) for value, kind in zip(values, types.values(), strict=True)]
    pq.write_table(pa.table(columns, names=list(types)), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def drifted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Every case that is taken is a day of its own; all land in one run."""
    folder = tmp_path_factory.mktemp("drift")
    cases = [files for files, _, _ in TEXT.values()]
    made = [*PARQUET.values(), PLAIN_NUMBER]
    cases += [{".parquet": parquet_file(*case)} for case in made]
    files = {f"{day(i)}{name}": content for i, case in enumerate(cases) for name, content in case.items()}
    lake = Lake(spark, str(folder / "lake"))
    land_files(lake, folder, files, days=len(cases), lateness_days=len(cases))
    return lake


@pytest.mark.parametrize("name", TEXT)
def test_text_that_drifts(name: str, drifted: Lake) -> None:
    arrival = day(list(TEXT).index(name))
    assert (raw_rows(drifted, arrival), quarantined(drifted, arrival)) == TEXT[name][1:]


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_types_that_drift(name: str, drifted: Lake) -> None:
    """What is finer than a microsecond is cut off, as in text."""
    arrival = day(len(TEXT) + list(PARQUET).index(name))
    assert (raw_rows(drifted, arrival), quarantined(drifted, arrival)) == ([EVENT], [])


def test_a_plain_number_is_no_timestamp(drifted: Lake) -> None:
    """Its unit is not stated: seconds, milliseconds or microseconds."""
    arrival = day(len(TEXT) + len(PARQUET))
    assert raw_rows(drifted, arrival) == []
    assert [reason for reason, _ in quarantined(drifted, arrival)] == ["unparsable_timestamp"]


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
