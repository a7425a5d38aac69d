"""Raw is lossless (R23): what JSON and Parquet bring beside an event is kept, and an odd value spoils one row (R8)."""

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from sessions_assets.lake.tables import RAW_EVENTS, RAW_QUARANTINE
from sessions_assets.landing import decimals
from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.landing.readers import read_rows
from sessions_assets.pipeline.land import land
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import DAY_0, day

AT = "2025-03-10 10:00:00"
EVENT = {"user_id": "7", "event_id": "a", "product_code": "I", "timestamp": AT}
TEXT = json.dumps(EVENT)[1:-1]


def line(**values: str) -> str:
    """Write an object with these JSON texts in place of the event's own."""
    texts = {name: json.dumps(value) for name, value in EVENT.items()} | values
    return "{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()) + "}"


# A line of JSON, and the user and the attributes that it gives, or the reason why it is refused.
JSON_LINES: dict[str, tuple[str, tuple[str, dict[str, str] | None] | str]] = {
    "nothing else": (line(), ("7", None)),
    "NULL is nothing": (line(more="null"), ("7", None)),
    "half of a letter": (line(user_id=r'"u\ud83d"'), "invalid_utf8"),
    "the other half": (line(user_id=r'"u\uDE00"'), "invalid_utf8"),
    "halves in the wrong order": (line(user_id=r'"\ude00\ud83d"'), "invalid_utf8"),
    "half of a letter in an attribute": (line(more=r'{"x": "\ud83d "}'), "invalid_utf8"),
    "half of a letter in a name": (line(**{r"\ud83d": "1"}), "invalid_utf8"),
    "both halves": (line(user_id=r'"\ud83d\ude00"'), ("\U0001f600", None)),
    "a backslash, no letter": (line(user_id=r'"\\ud83d"'), (r"\ud83d", None)),
    "a question mark": (line(user_id='"u?"'), ("u?", None)),
    "a number as it is written": (line(user_id="7.10"), ("7.10", None)),
    "a number with an exponent": (line(user_id="1e3"), ("1e3", None)),
    "a number less than zero": (line(user_id="-0"), ("-0", None)),
    "a long number": (line(user_id="12345678901234567890.0"), ("12345678901234567890.0", None)),
    "no number": (line(user_id="007"), "unparsable_row"),
    "no number either": (line(user_id="NaN"), "unparsable_row"),
    "an object as id": (line(user_id='{"a": 1}'), "unparsable_row"),
    "a list as id": (line(event_id="[1]"), "unparsable_row"),
    "true as id": (line(product_code="true"), "unparsable_row"),
    "a text that looks like one": (line(user_id='"true"', more='"{}"'), ("true", {"more": "{}"})),
    "another text that looks like one": (line(user_id='"[1]"'), ("[1]", None)),
    "an object as time": (line(timestamp='{"at": 1}'), "unparsable_timestamp"),
    "attributes of all types": (
        line(i="1", d="-1.50", t='"x\\u00e9\\n"', b="false", n="null", e='""'),
        ("7", {"i": "1", "d": "-1.50", "t": "xé\n", "b": "false", "e": ""}),
    ),
    "nested attributes": (
        line(o='{"p": 9.50, "q": [1, 1e2, "a, 1.0"]}', l="[]"),
        ("7", {"o": '{"p":9.50,"q":[1,1e2,"a, 1.0"]}', "l": "[]"}),
    ),
    "odd names": (
        line(**{"a.b": "1", "`": "2", "": "3", "x y": "4", r"l\nf": "5", "'; --": "6", "_metadata": "7"}),
        ("7", {"a.b": "1", "`": "2", "": "3", "x y": "4", "l\nf": "5", "'; --": "6", "_metadata": "7"}),
    ),
    "names that differ in case only": (line(Page="1", page="2"), ("7", {"Page": "1", "page": "2"})),
    "one of the four in two spellings": (line(USER_ID='"8"'), "unparsable_row"),
    "a name twice": (line()[:-1] + ', "user_id": "8"}', "unparsable_row"),
    "an attribute twice": (line()[:-1] + ', "x": 1, "x" : 2}', "unparsable_row"),
    "another spelling": (line().replace('"user_id"', '" User_ID "'), ("7", None)),
    "time without seconds": (line(timestamp='"2025-03-10T12:00+02:00"'), ("7", None)),
    "time with many digits": (line(timestamp='"2025-03-10T10:00:00.00000000000000001Z"'), ("7", None)),
    "a long line": (line(more='"' + "x" * 1_600_000 + '"'), ("7", {"more": "x" * 1_600_000})),
    "deep": (line(more="[" * 500 + "]" * 500), ("7", {"more": "[" * 500 + "]" * 500})),
    "too deep": (line(more="[" * 5000 + "]" * 5000), "unparsable_row"),
}


@pytest.fixture(scope="module")
def json_lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Each line is the batch of a day of its own, in which it is the second after its mark."""
    folder = tmp_path_factory.mktemp("json_lines")
    (folder / "landing").mkdir()
    for number, (text, _) in enumerate(JSON_LINES.values()):
        later = text.replace("2025-03-10", f"{day(number)}")
        (folder / "landing" / f"{day(number)}.jsonl").write_text("\ufeff" * (number % 2) + line() + "\n" + later + "\n")
    lake = Lake(spark, str(folder / "lake"))
    land(spark, lake, Landing(str(folder / "landing")), [day(n) for n in range(len(JSON_LINES))], 400)
    return lake


@pytest.fixture(scope="module")
def json_rows(json_lake: Lake) -> dict[str, list[Any]]:
    """What each day gave, without the first line."""
    found: dict[str, list[Any]] = {name: [] for name in JSON_LINES}
    names = {day(number): name for number, name in enumerate(JSON_LINES)}
    for row in json_lake.read(RAW_EVENTS).collect():
        found[names[row["_updated_at"]]].append((row["user_id"], row["attributes"]))
    for row in json_lake.read(RAW_QUARANTINE).collect():
        found[names[row["_updated_at"]]].append(row["reason"])
    for rows in found.values():
        rows.remove(("7", None))
    return found


@pytest.mark.parametrize("name", JSON_LINES)
def test_json(name: str, json_rows: dict[str, list[Any]]) -> None:
    assert json_rows[name] == [JSON_LINES[name][1]]


def test_where_a_row_came_from(json_lake: Lake) -> None:
    """The time as text, and the file, beside the values; of a row that could not be parsed only the text and file."""
    number = [*JSON_LINES].index("time without seconds")
    rows = json_lake.read_days(RAW_EVENTS, [day(number)]).where("timestamp_text LIKE '%T%'").collect()
    assert [(r.timestamp_text, r.source_file.rsplit("/", 1)[1]) for r in rows] == [
        (f"{day(number)}T12:00+02:00", f"{day(number)}.jsonl")
    ]
    (broken,) = json_lake.read_days(RAW_QUARANTINE, [day([*JSON_LINES].index("no number"))]).collect()
    assert (broken.user_id, broken.timestamp, broken.timestamp_text, broken.attributes) == (None,) * 4
    assert broken.raw_text.startswith('{"user_id": 007')
    (odd,) = json_lake.read_days(RAW_QUARANTINE, [day([*JSON_LINES].index("an object as time"))]).collect()
    assert (odd.user_id, odd.timestamp, odd.timestamp_text) == ("7", None, '{"at":1}')


def test_numbers_are_as_they_are_written(spark: SparkSession, tmp_path: Path) -> None:
    """Those that the parser writes in the same way are not looked at one by one; each line has one more of its kind."""
    rng = Random(7)  # noqa: S311
    digits = [str(rng.randrange(10**length)) for length in (1, 2, 3, 6, 7, 9) for _ in range(150)]
    parts = [str(rng.randrange(10**length)).zfill(length) for length in (1, 2, 3, 5, 6, 7) for _ in range(150)]
    numbers = [*map(".".join, zip(digits, parts, strict=True)), *[f"0.{part}" for part in parts]]
    numbers += ["0", "-0", "0.0", "10", "0.002", "0.0005", "-0.000123"]
    (tmp_path / "2025-03-10.jsonl").write_text("".join(line(n=number) + "\n" for number in numbers))
    landing = Landing(str(tmp_path))
    rows = read_rows(spark, landing, list(landing.find([day(0)]).values()))
    assert [row["attributes"]["n"] for row in rows.select("attributes").collect()] == numbers


# --- Parquet


def columns(rows: int = 1, **others: pa.Array) -> dict[str, Any]:
    texts = {name: [value] * rows for name, value in EVENT.items()}
    return {name: others.get(name, texts[name]) for name in EVENT} | others


AT_MS, LAST = 1_741_600_800_000, 2**63 - 1


# Columns, and what they give: attributes of the event, or the reasons of all rows.
PARQUET: dict[str, tuple[Callable[[], dict[str, Any]], Any]] = {
    "milliseconds that no year has": (
        lambda: columns(3, timestamp=pa.array([AT_MS, LAST, -LAST], pa.timestamp("ms", "UTC"))),
        [None, "future", "too_late"],
    ),
    "microseconds that no year has": (
        lambda: columns(3, timestamp=pa.array([AT_MS * 1000, LAST, -LAST], pa.timestamp("us"))),
        [None, "future", "too_late"],
    ),
    "nanoseconds": (
        lambda: columns(3, timestamp=pa.array([AT_MS * 10**6 + 999, LAST, -LAST], pa.timestamp("ns"))),
        [None, "future", "too_late"],
    ),
    "an attribute of times that no year has": (
        lambda: columns(2, at=pa.array([AT_MS, LAST], pa.timestamp("ms"))),
        [{"at": "2025-03-10 10:00:00"}, {"at": str(LAST)}],
    ),
    "nanoseconds as attribute": (
        lambda: columns(at=pa.array([AT_MS * 10**6 + 1], pa.timestamp("ns"))),
        [{"at": "2025-03-10 10:00:00.000000001"}],
    ),
    "a column named _metadata": (lambda: columns(_metadata=pa.array([1])), [{"_metadata": "1"}]),
    "names that differ in case only": (
        lambda: columns(Page=pa.array(["a"]), page=pa.array(["b"])),
        [{"Page": "a", "page": "b"}],
    ),
    "odd names": (
        lambda: columns(**{"a.b": pa.array([1]), "`": pa.array([2]), "l\nf": pa.array([3])}),
        [{"a.b": "1", "`": "2", "l\nf": "3"}],
    ),
    "uuid": (
        lambda: columns(id=pa.array([bytes(range(16))], pa.uuid())),
        [{"id": "00010203-0405-0607-0809-0a0b0c0d0e0f"}],
    ),
    "uuid in a struct beside": (
        lambda: columns(
            s=pa.StructArray.from_arrays([pa.array([bytes(16)], pa.uuid()), pa.array([1])], ["id", "n"]),
            t=pa.array([36_000_500_000], pa.time64("us")),
        ),
        [{"s": '{"id":"AAAAAAAAAAAAAAAAAAAAAA==","n":1}', "t": "10:00:00.5"}],
    ),
    "times of day": (
        lambda: columns(ms=pa.array([36_000_001], pa.time32("ms")), ns=pa.array([1], pa.time64("ns"))),
        [{"ms": "10:00:00.001", "ns": "00:00:00.000000001"}],
    ),
    "lists, maps, structs": (
        lambda: columns(
            l=pa.array([[1, None]]),
            m=pa.array([[("k", 1.5)]], pa.map_(pa.string(), pa.float64())),
            s=pa.array([{"a": {"b": "x", "c": None}}]),
            t=pa.StructArray.from_arrays([pa.array([AT_MS * 1000 + 1], pa.timestamp("us", "UTC"))], ["at"]),
        ),
        [
            {
                "l": "[1,null]",
                "m": '{"k":1.5}',
                "s": '{"a":{"b":"x","c":null}}',
                "t": '{"at":"2025-03-10T10:00:00.000001Z"}',
            }
        ],
    ),
    "numbers, booleans, dates": (
        lambda: columns(
            d=pa.array([Decimal("1.50")]),
            b=pa.array([True]),
            i=pa.array([-1], pa.int8()),
            u=pa.array([2**64 - 1], pa.uint64()),
            day=pa.array([DAY_0]),
            n=pa.nulls(1),
        ),
        [{"d": "1.50", "b": "true", "i": "-1", "u": "18446744073709551615", "day": "2025-03-10"}],
    ),
    "decimals of more digits than Spark has": (
        lambda: columns(
            5,
            d=pa.array([Decimal("1.50"), Decimal("-0.005"), None, -Decimal(10**70), Decimal(0)], pa.decimal256(76, 3)),
            l=pa.array([Decimal(12), None, None, None, None], pa.decimal256(39, 0)),
        ),
        [{"d": "1.500", "l": "12"}, {"d": "-0.005"}, {}, {"d": f"-1{'0' * 70}.000"}, {"d": "0.000"}],
    ),
    "bytes": (lambda: columns(2, x=pa.array([b"\xff\x00", b"text"])), [{"x": "0xFF00"}, {"x": "text"}]),
    "no value": (lambda: columns(x=pa.nulls(1, pa.string())), [{}]),
}


@pytest.mark.parametrize(
    ("whole", "scale", "text"),
    [(-5, 3, "-0.005"), (10**76 - 1, 0, "9" * 76), (0, 2, "0.00"), (120, -2, "12000"), (None, 3, None)],
)
def test_decimals_of_any_digits_and_workers_need_not_have_this_package(
    whole: int | None, scale: int, text: str | None
) -> None:
    stored = whole if whole is None else whole.to_bytes(32, "big", signed=True)
    code = (
        f"import pickle, sys\nsys.modules['sessions_assets'] = None\nprint(pickle.load(sys.stdin.buffer)({stored!r}))"
    )
    sent = cloudpickle.dumps(partial(decimals.text_of_decimal, scale=scale))
    out = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)  # noqa: S603
    assert out.stdout.decode().strip() == str(text)


@pytest.fixture(scope="module")
def parquet_rows(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Each file is the batch of a day of its own; later days are later than their events, which is no matter."""
    folder = tmp_path_factory.mktemp("parquet_files")
    (folder / "landing").mkdir()
    days = [day(number) for number in range(len(PARQUET))]
    for arrival, (made, _) in zip(days, PARQUET.values(), strict=True):
        pq.write_table(pa.table(made()), folder / "landing" / f"{arrival}.parquet")
    lake = Lake(spark, str(folder / "lake"))
    land(spark, lake, Landing(str(folder / "landing")), days, 400)
    found: dict[Any, list[Any]] = {arrival: [] for arrival in days}
    for row in lake.read(RAW_EVENTS).collect():
        found[row["_updated_at"]].append(row["attributes"])
    for row in lake.read(RAW_QUARANTINE).collect():
        found[row["_updated_at"]].append(row["reason"])
    return dict(zip(PARQUET, found.values(), strict=True))


@pytest.mark.parametrize("name", PARQUET)
def test_parquet(name: str, parquet_rows: dict[str, list[Any]]) -> None:
    wanted = [value or None for value in PARQUET[name][1]]
    assert sorted(parquet_rows[name], key=str) == sorted(wanted, key=str)


def test_one_of_the_four_may_not_be_nested(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    pq.write_table(pa.table(columns(user_id=pa.array([["7"]]))), tmp_path / "landing" / "2025-03-10.parquet")
    with pytest.raises(DeliveryError, match=r"2025-03-10.parquet has user_id array<string>: expected text, numbers or"):
        land(lake.spark, lake, Landing(str(tmp_path / "landing")), [day(0)], 5)


def test_an_unknown_codec_is_named(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    pq.write_table(pa.table(columns()), tmp_path / "landing" / "2025-03-10.parquet", compression="brotli")
    with pytest.raises(DeliveryError, match=r"2025-03-10.parquet is compressed by brotli: expected one of gzip, lz4"):
        land(lake.spark, lake, Landing(str(tmp_path / "landing")), [day(0)], 5)


def test_a_column_that_comes_first_in_a_late_line_of_json(lake: Lake, tmp_path: Path) -> None:
    """A file lacks a column only if no line has it; a line that lacks it is refused alone."""
    (tmp_path / "landing").mkdir()
    short = json.dumps({name: value for name, value in EVENT.items() if name != "product_code"})
    (tmp_path / "landing" / "2025-03-10.jsonl").write_text(f"{short}\n" * 1500 + line() + "\n")
    land(lake.spark, lake, Landing(str(tmp_path / "landing")), [day(0)], 5)
    assert lake.count_rows(RAW_EVENTS, [day(0)]) == {day(0): 1}
    assert {row.reason for row in lake.read(RAW_QUARANTINE).collect()} == {"blank_product_code"}
