"""Any file ends as rows, each accepted or refused with a reason, or as one DeliveryError that names it.

The files are valid ones, changed at random. A failure names format and number: `odd_file("json", 227)` makes the file
again.
"""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from datetime import date
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sessions_assets.lake.tables import RAW_EVENTS, RAW_QUARANTINE
from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.pipeline.apply import apply
from sessions_assets.pipeline.land import land
from sessions_assets.rule.session_rule import SessionRule
from sessions_assets_tests.fuzzing import FORMATS, MOMENT, OddFile, odd_file, valid_file
from sessions_assets_tests.fuzzing_laws import REFUSED, broken_laws, expected_of, read_each, written
from sessions_assets_tests.lakes import Lake
from sessions_assets_tests.tables import day

LATENESS = 400

FEW = {"csv": 25, "json": 250, "parquet": 15}
MANY = {"csv": 1_200, "json": 3_600, "parquet": 1_200}


def odd_files(numbers: dict[str, int], first: int = 0) -> list[OddFile]:
    """Return so many files of each format."""
    return [odd_file(kind, first + number) for kind, count in numbers.items() for number in range(count)]


def test_any_file_is_rows_or_one_sentence(spark: SparkSession, tmp_path: Path) -> None:
    assert broken_laws(spark, tmp_path / "landing", odd_files(FEW)) == []


@pytest.mark.long
@pytest.mark.parametrize("kind", FORMATS)
def test_any_of_thousands_of_files(kind: str, spark: SparkSession, tmp_path: Path, seed: int) -> None:
    """Other ones each time."""
    assert broken_laws(spark, tmp_path / "landing", odd_files({kind: MANY[kind]}, seed)) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_valid_files_are_rows(kind: str) -> None:
    expected = expected_of(valid_file(kind))
    assert expected is not None
    assert expected.rows is not None
    assert [row.reasons for row in expected.rows] == [{None}, {None}]


def test_odd_files_are_of_all_kinds() -> None:
    """Not only such that are refused, or of which nothing is known."""
    files = odd_files({"csv": 400, "json": 400, "parquet": 400})
    found: Counter[tuple[str, str]] = Counter()
    for file in files:
        expected = expected_of(file)
        rows = (expected.rows if expected else None) or []
        found[file.kind, "unknown" if expected is None else "refused" if expected == REFUSED else "read"] += 1
        found.update((file.kind, f"{reason}") for row in rows if len(row.reasons) == 1 for reason in row.reasons)
    for kind in FORMATS:
        assert found[kind, "read"] > 150, found
        assert found[kind, "None"] > 30, found
        assert found[kind, "refused"] > 20, found
        assert found[kind, "blank_event_id"] > 2, found
    for kind in ("csv", "json"):
        assert min(found[kind, reason] for reason in ("unparsable_row", "invalid_utf8")) > 5, found


# --- What was found

TEXT = json.dumps({"user_id": "7", "event_id": "a", "product_code": "I", "timestamp": MOMENT})
WITH_OBJECT = TEXT.replace('"I"', '{"a": 1, "a": 2}')
WITH_MARK = TEXT.replace('"7"', r'"\u00017"').replace("}", ', "n": 2.50}')
DEEP = '{"a":' * 990 + "1" + "}" * 990
DAMAGED = gzip.compress(f"{TEXT}\n".encode() * 50_000)[:-8] + b"damaged!"


def with_a_column_twice() -> bytes:
    """Write a column that Spark does not read by itself, and another twice."""
    columns = {name: [value] for name, value in json.loads(TEXT).items()}
    arrays = [*columns.values(), pa.array([1], pa.time64("ns")), ["x"], ["y"]]
    file = BytesIO()
    pq.write_table(pa.table(arrays, names=[*columns, "at", "more", "more"]), file)
    return file.getvalue()


# Of each file its name behind the day, and the user and the reason of each row, or the sentence in which it is refused.
FOUND: dict[str, tuple[str, bytes, list[tuple[str | None, str | None]] | str]] = {
    "as id an object that has a name twice": (
        ".jsonl",
        f"{TEXT}\n{WITH_OBJECT}\n".encode(),
        [("7", None), ("7", "unparsable_row")],
    ),
    "as id an object as deep as the parser reads": (
        ".jsonl",
        f"{TEXT}\n{TEXT.replace(chr(34) + 'I' + chr(34), DEEP)}\n".encode(),
        [("7", None), ("7", "unparsable_row")],
    ),
    "as id a text that looks as deep": (
        ".jsonl",
        f"{TEXT}\n{TEXT.replace('I', '[' * 101)}\n{TEXT.replace('I', '[' * 100)}\n".encode(),
        [("7", None), ("7", "unparsable_row"), ("7", None)],
    ),
    "numbers of other spellings behind a blank and a colon": (
        ".jsonl",
        TEXT.replace('"user_id": "7"', '"user_id" : 1741600800.50').encode(),
        [("1741600800.50", None)],
    ),
    "a number as name": (
        ".jsonl",
        f"{TEXT}\n{{1: [2.50], {TEXT[1:]}\n".encode(),
        [("7", None), (None, "unparsable_row")],
    ),
    "a letter that is put before numbers of other spellings, beside one": (
        ".jsonl",
        f"{WITH_MARK}\n{WITH_MARK.replace('u0001', chr(92) + 'u0001')}\n".encode(),
        [("7", "unparsable_row"), (r"\u00017", None)],
    ),
    "a name with white space around it": (
        ".jsonl",
        TEXT.replace('"user_id"', '"\\tuser_id\\u00a0"').encode(),
        [("7", None)],
    ),
    "two byte order marks": (".jsonl", f"\ufeff\ufeff{TEXT}\n".encode(), [("7", None)]),
    "lines that end in CR": (".jsonl", f"{TEXT}\r{TEXT}\r".encode(), [("7", None), ("7", None)]),
    "a gzip file of nothing": (".jsonl.gz", gzip.compress(b""), []),
    "a byte order mark alone, and zero bytes behind it": (".jsonl.gz", gzip.compress(b"\xef\xbb\xbf") + bytes(64), []),
    "zero bytes behind gzip data": (
        ".jsonl.gz",
        gzip.compress(f"{TEXT}\n{TEXT}".encode()) + bytes(10),
        [("7", None)] * 2,
    ),
    "a damaged file whose name has blanks and signs": (
        "/a b%20c+ü.jsonl.gz",
        DAMAGED,
        "/a b%20c+ü.jsonl.gz cannot be read: truncated, damaged or not what its name says",
    ),
    "a column is missing, and the name of another is half a letter and a line": (
        ".jsonl",
        b'{"user_id": "7", "event_id": "a", "product_code": "I", "\\ud83d\\n": 1}',
        "; found user_id, event_id, product_code, \\ud83d\\u000a",
    ),
    "a column is missing, of many": (
        ".csv",
        ",".join(f"c{position}" for position in range(5_000)).encode(),
        "c99, c100, c101 and more, 5000 in all",
    ),
    "a Parquet file that is none": (
        ".parquet",
        b"user_id,event_id,product_code,timestamp\n",
        ".parquet is not a Parquet file. Expected magic number at tail, but found [97, 109, 112, 10]",
    ),
    "another column twice": (".parquet", with_a_column_twice(), ".parquet has column more twice: expected each once"),
}
Outcomes = dict[str, list[tuple[str | None, str | None]] | str]


@pytest.fixture(scope="module")
def outcomes(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Each file is the batch of a day of its own."""
    files = [OddFile("json", 0, ending, content, (), is_damaged=False) for ending, content, _ in FOUND.values()]
    landing = written(tmp_path_factory.mktemp("found"), files)
    days = {day(number): name for number, name in enumerate(FOUND)}
    read = read_each(spark, landing, [[batch] for batch in landing.find(days).values()])
    return {
        days[arrival]: str(outcome)
        if isinstance(outcome, Exception)
        else [(row["user_id"], row["reason"]) for row in outcome]
        for arrival, outcome in read.items()
    }


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_mended(name: str, outcomes: Outcomes) -> None:
    expected, found = FOUND[name][2], outcomes[name]
    assert found == expected or (isinstance(expected, str) and str(found).endswith(expected))


# --- With tables


class Deliveries:
    """A lake, and a landing in which each day has one file at a time."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake, self._folder, self._landing = lake, folder, Landing(str(folder))
        folder.mkdir()

    def deliver(self, arrival: date, file: OddFile) -> None:
        """Put a file in the place of the one that a day has."""
        for old in [*self._folder.glob(f"{arrival}.*"), *self._folder.glob(f"{arrival}/*")]:
            old.unlink()
        for old in self._folder.glob(f"{arrival}"):
            old.rmdir()
        path = self._folder / file.name(arrival)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file.content)

    def land(self, days: Sequence[date]) -> str | None:
        """Land days; return the sentence in which that is refused."""
        try:
            land(self.lake.spark, self.lake, self._landing, days, LATENESS)
        except DeliveryError as error:
            return str(error)
        return None

    def state(self, arrival: date) -> tuple[object, ...]:
        """Return what the ledger knows of a day, and what the tables hold of it."""
        counts = (self.lake.count_rows(table, [arrival])[arrival] for table in (RAW_EVENTS, RAW_QUARANTINE))
        return (self.lake.ledger.entries([arrival]).get(arrival), *counts)

    def disorder(self, arrival: date, file: OddFile) -> list[str]:
        """Land a file; return what is wrong with tables and ledger then."""
        before = self.state(arrival)
        self.deliver(arrival, file)
        sentence = self.land([arrival])
        entry, accepted, refused = after = self.state(arrival)
        if sentence is not None:
            named = file.name(arrival) in sentence
            return [] if named and after == before else [f"{file}: {sentence}: {before} has become {after}"]
        counts = (entry.rows_delivered, entry.rows_accepted, entry.rows_quarantined, entry.landed_at is not None)  # type: ignore[attr-defined]
        agree = counts == (accepted + refused, accepted, refused, True)  # type: ignore[operator]
        return [] if agree else [f"{file}: the ledger says {counts}, the tables hold {accepted} and {refused}"]


def test_the_lake_stays_in_order(lake: Lake, tmp_path: Path) -> None:
    """Whatever is delivered, on new days and on days that have landed; and mended files land."""
    days, deliveries = [day(number) for number in range(3)], Deliveries(lake, tmp_path / "landing")
    kinds = [FORMATS[number % 3] for number in range(len(days))]
    for arrival, kind in list(zip(days, kinds, strict=True))[::2]:
        deliveries.deliver(arrival, valid_file(kind))
    assert deliveries.land(days) is None
    odd = [odd_file(kind, number) for number, kind in enumerate(kinds)]
    assert [d for arrival, file in zip(days, odd, strict=True) for d in deliveries.disorder(arrival, file)] == []
    for arrival, kind in zip(days, kinds, strict=True):
        deliveries.deliver(arrival, valid_file(kind))
    assert deliveries.land(days) is None
    apply(lake.spark, lake, days, SessionRule())
    assert [deliveries.state(arrival)[1:] for arrival in days] == [(2, 0)] * len(days)


@pytest.mark.long
def test_the_lake_stays_in_order_for_long(lake: Lake, tmp_path: Path, seed: int) -> None:
    """Each odd file is applied if it lands, and then mended alone."""
    deliveries = Deliveries(lake, tmp_path / "landing")
    for number in range(60):
        arrival, kind = day(number % 40), FORMATS[number % 3]
        assert deliveries.disorder(arrival, odd_file(kind, seed + number)) == []
        if deliveries.state(arrival)[0]:
            apply(lake.spark, lake, [arrival], SessionRule())
        assert deliveries.disorder(arrival, valid_file(kind)) == []
        assert deliveries.state(arrival)[1:] == (2, 0)
        apply(lake.spark, lake, [arrival], SessionRule())
