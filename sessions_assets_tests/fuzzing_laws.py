"""What has to become of any file: its rows, each accepted or refused with a reason, or one DeliveryError that names it.

`broken_laws` reads odd files, many in one query, and returns what is wrong. Where the standard library or pyarrow can
read a file too, the rows have to be those that they find: `expected_of` says so without knowing how batches are read.
"""

import gzip
import json
import re
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from sessions_assets.landing.batches import Delivery, DeliveryError, Landing
from sessions_assets.landing.readers import read_rows
from sessions_assets.landing.rows import reading
from sessions_assets.rule.events import typed
from sessions_assets_tests.fuzzing import COLUMNS, MOMENT, OddFile
from sessions_assets_tests.tables import day

ANY_LATENESS = 100_000
UNPARSED = {"invalid_utf8", "unparsable_row"}
REASONS = {
    *UNPARSED, "blank_user_id", "blank_event_id", "blank_product_code", "blank_timestamp", "unparsable_timestamp",
    "too_late", "future",
}  # fmt: skip
# MOMENT, and the first and last time of a day that is within the years 1 to 9999 everywhere; since 1970.
MICROSECONDS = 1_741_600_800_000_001
FIRST, LAST = -62_135_510_400_000_000, 253_402_214_400_000_000
# How many files are read in one query: each layout makes it longer, and of JSON there is one.
GROUPS = {"csv": 60, "json": 400, "parquet": 20}

Outcome = list[Row] | Exception


@dataclass(frozen=True)
class ExpectedRow:
    """What is known of a row.

    Attributes:
        reasons: one of them, None for no reason; of a row that is not parsed nothing else is known.
        columns: the texts of those that are known; "" is as good as NULL.
        attributes: the texts, or the values of JSON; None: they are not known.
        time: of the event, in microseconds since 1970; None: it is not known.
    """

    reasons: frozenset[str | None]
    columns: Mapping[str, str]
    attributes: Mapping[str, Any] | None
    time: int | None = None


@dataclass(frozen=True)
class Expected:
    """What is known of a file.

    Attributes:
        rows: in their order; None: it is refused.
        may_be_refused: it is at the edge of what can be read.
    """

    rows: list[ExpectedRow] | None
    may_be_refused: bool


PARSED = frozenset({None, *REASONS} - UNPARSED)
UNKNOWN = ExpectedRow(frozenset({None, *REASONS}), {}, None)
BROKEN = ExpectedRow(frozenset({"unparsable_row"}), {}, None)
NO_TEXT = ExpectedRow(frozenset({"invalid_utf8"}), {}, None)
REFUSED = Expected(None, may_be_refused=True)


def broken_laws(spark: SparkSession, folder: Path, files: Sequence[OddFile]) -> list[str]:
    """Read each file as the batch of a day of its own; return each broken law with the file that breaks it."""
    broken: list[str] = []
    for kind, size in GROUPS.items():
        of_kind = [file for file in files if file.kind == kind]
        for start in range(0, len(of_kind), size):
            broken += _broken_in_group(spark, folder, of_kind[start : start + size])
    return broken


def _broken_in_group(spark: SparkSession, folder: Path, files: Sequence[OddFile]) -> list[str]:
    shutil.rmtree(folder, ignore_errors=True)
    landing = written(folder, files)
    batches = landing.find([day(number) for number in range(len(files))])
    expected = {day(number): expected_of(file) for number, file in enumerate(files)}
    # What others read is read together: a refusal makes all others be read again.
    together = [day for day, known in expected.items() if known and known.rows is not None]
    groups = [together, *([day] for day in expected if day not in together)]
    outcomes = read_each(spark, landing, [[batches[day] for day in group] for group in groups if group])
    return [
        f"{file}: {law}"
        for number, file in enumerate(files)
        for law in broken_by(
            file, landing.address(file.name(day(number))), expected[day(number)], outcomes[day(number)]
        )
    ]


def written(folder: Path, files: Iterable[OddFile]) -> Landing:
    """Write files as the batches of days 0, 1, 2, ..."""
    for number, file in enumerate(files):
        path = folder / file.name(day(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    return Landing(str(folder))


def read_each(spark: SparkSession, landing: Landing, groups: Iterable[list[Delivery]]) -> dict[date, Outcome]:
    """Read groups of batches; if one fails, each that is to blame alone, and the others without it."""
    outcomes: dict[date, Outcome] = {}
    waiting = list(groups)
    while waiting:
        group = waiting.pop()
        try:
            rows = _read(spark, landing, group)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            if len(group) == 1:
                outcomes[group[0].day] = error
                continue
            waiting += _divided(group, error)
            continue
        found: dict[date, Outcome] = {
            batch.day: [row for row in rows if row["_updated_at"] == batch.day] for batch in group
        }
        outcomes |= found
        if len(rows) != sum(len(of_day) for of_day in found.values() if isinstance(of_day, list)):
            outcomes[group[0].day] = AssertionError("rows of another day")
    return outcomes


def _divided(group: list[Delivery], error: Exception) -> list[list[Delivery]]:
    named = [batch for batch in group if batch.source in str(error)]
    if not named or len(named) == len(group):
        return [group[: len(group) // 2], group[len(group) // 2 :]]
    return [[batch for batch in group if batch not in named], named]


def _read(spark: SparkSession, landing: Landing, batches: Sequence[Delivery]) -> list[Row]:
    with reading([file for batch in batches for file in batch.files]):
        rows = typed(read_rows(spark, landing, batches), ANY_LATENESS)
        return rows.withColumn("timestamp", F.unix_micros("timestamp")).collect()


# --- Laws of any file


def broken_by(file: OddFile, address: str, expected: Expected | None, outcome: Outcome) -> list[str]:
    """Return the laws that the outcome of a file breaks."""
    if isinstance(outcome, DeliveryError):
        broken = _broken_by_refusal(str(outcome), address)
        return [*broken, f"refused: {outcome}"] if expected and not expected.may_be_refused else broken
    if isinstance(outcome, Exception):
        return [f"{type(outcome).__name__}: {_short(outcome)}"]
    broken = [f"row {number}: {law}" for number, row in enumerate(outcome) for law in _broken_by_row(file, row)]
    if expected is None:
        return broken
    if expected.rows is None:
        return [*broken, f"read, with {len(outcome)} rows, though it should be refused"]
    return broken + _differences(expected.rows, outcome)


def _short(error: object) -> str:
    return str(error)[:2_000]


def _broken_by_refusal(sentence: str, address: str) -> list[str]:
    if address not in sentence:
        return [f"refused without its name: {_short(sentence)}"]
    if len(sentence) > 1_500 or not sentence.isprintable():
        return [f"refused in {len(sentence)} characters, which should be one line: {_short(ascii(sentence))}"]
    return []


def _broken_by_row(file: OddFile, row: Row) -> list[str]:
    laws = {
        "an unknown reason": row["reason"] is None or row["reason"] in REASONS,
        "no raw text": row["raw_text"] is not None,
        "no file": row["source_file"] is not None,
        "a blank column": row["reason"] is not None or all(_is_text(row[column]) for column in COLUMNS[:3]),
        "no timestamp": row["reason"] is not None or row["timestamp"] is not None,
        "an attribute that is none": row["attributes"] is None or _are_attributes(row["attributes"]),
        "a letter that was not delivered": row["reason"] in UNPARSED or _has_its_letters(file, row),
    }
    return [law for law, holds in laws.items() if not holds]


def _is_text(value: str | None) -> bool:
    return value is not None and value.strip() != ""


def _are_attributes(attributes: Mapping[str, str | None]) -> bool:
    return len(attributes) > 0 and None not in attributes.values()


def _has_its_letters(file: OddFile, row: Row) -> bool:
    texts = [*(row[c] for c in (*COLUMNS[:3], "timestamp_text")), *(row["attributes"] or {}).values()]
    if not any("\ufffd" in text for text in texts if text):
        return True
    return (
        b"\xef\xbf\xbd" in file.content or b"\\ufffd" in file.content or file.is_damaged or file.ending.endswith(".gz")
    )


# --- What others read in a file


def expected_of(file: OddFile) -> Expected | None:
    """Return what is known of a file; None: nothing."""
    if file.kind == "parquet":
        return None if file.is_damaged else _expected_parquet(file.content)
    content = file.content
    if file.ending.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return None if "something behind the end" in file.changes else REFUSED
        if not file.content:
            return REFUSED
    if content.startswith((b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b")):
        return REFUSED
    expected = (_expected_json if file.kind == "json" else _expected_csv)(content)
    # What is behind the end of a compressed file is refused or ignored.
    return replace(expected, may_be_refused=True) if expected and file.is_damaged else expected


def _differences(expected: list[ExpectedRow], found: list[Row]) -> list[str]:
    if len(expected) != len(found):
        return [f"{len(found)} rows: expected {len(expected)}"]
    return [
        f"row {number}: {difference}"
        for number, (wanted, row) in enumerate(zip(expected, found, strict=True))
        for difference in _different(wanted, row)
    ]


def _different(wanted: ExpectedRow, row: Row) -> Iterable[str]:
    if row["reason"] not in wanted.reasons:
        yield f"{row['reason']}: expected one of {sorted(map(str, wanted.reasons))}: {row['raw_text'][:200]}"
        return
    if row["reason"] in UNPARSED:
        return
    for column, text in wanted.columns.items():
        found = row["timestamp_text" if column == "timestamp" else column] or ""
        if found != text:
            yield f"{column} {found[:200]!r}: expected {text[:200]!r}"
    if wanted.time is not None and row["timestamp"] != wanted.time:
        yield f"timestamp {row['timestamp']}: expected {wanted.time}"
    if wanted.attributes is not None:
        attributes = row["attributes"] or {}
        names = {*attributes, *wanted.attributes}
        if different := [n for n in names if not _is_same(attributes.get(n), wanted.attributes.get(n))]:
            pairs = [(n[:100], attributes.get(n), wanted.attributes.get(n)) for n in different[:3]]
            yield f"attributes (name, found, expected): {str(pairs)[:500]}"


def _is_same(found: str | None, wanted: object) -> bool:
    if isinstance(wanted, (str, type(None))):
        return (found or "") == (wanted or "")
    return found is not None and parsed_json(found) == wanted


def _texts_of(content: bytes) -> list[bytes]:
    """Return the lines that are not blank."""
    lines = re.split(rb"\r\n|\n|\r", content.removeprefix(b"\xef\xbb\xbf"))
    return [line for line in lines if line.strip(b" ")]


def _plain(name: str) -> str:
    return name.strip().lower()


# --- JSON as the standard library reads it


class Number(str):
    """A number as it is written."""

    __slots__ = ()


class Pairs(tuple[tuple[str, Any], ...]):
    """An object whose names may occur more than once."""

    __slots__ = ()


def parsed_json(text: str) -> object:
    """Parse JSON strictly; numbers stay as they are written.

    Raises:
        ValueError: it is none.
    """

    def no_constant(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=no_constant)


def _expected_json(content: bytes) -> Expected:
    lines = _texts_of(content)
    if not any(line.decode("utf-8", "replace").lstrip("\ufeff").strip() for line in lines):
        return Expected([UNKNOWN] * len(lines), may_be_refused=False)
    rows = [_json_row(line) for line in lines]
    names, surely = (
        [n for line in lines for n in _json_names(line)],
        [n for line in lines for n in _json_names(line, strict=True)],
    )
    if lines and not set(COLUMNS) <= set(map(_plain, names)):
        return REFUSED
    is_plain = set(COLUMNS) <= {_plain(name) for name in surely}
    each_once = len({name for name in names if _plain(name) in COLUMNS}) == len(COLUMNS)
    return Expected(rows, may_be_refused=bool(lines) and not (is_plain and each_once))


def _json_names(line: bytes, *, strict: bool = False) -> list[str]:
    text = line.decode("utf-8", "replace").lstrip("\ufeff")
    try:
        row = parsed_json(text) if strict else json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return []
    return [name for name, _ in row] if isinstance(row, Pairs) else []


# Before some numbers the reader puts a letter, of all that are written like this at most.
_OTHER_NUMBER = re.compile(r"[:\[,]\s*-?(?:[0-9]+[.eE]|0)")
# A parser has limits: of depth, of digits.
_LONG_NUMBER = re.compile("[0-9]{900}")


def _json_row(line: bytes) -> ExpectedRow:
    try:
        text = line.decode().lstrip("\ufeff")
    except UnicodeDecodeError:
        return NO_TEXT
    if text.count("[") + text.count("{") > 300 or _LONG_NUMBER.search(text):
        return UNKNOWN
    may_be_half = re.search(r"\\u[dD][89a-fA-F]", text)
    try:
        row = parsed_json(text)
    except (ValueError, RecursionError):
        return ExpectedRow(frozenset(UNPARSED), {}, None) if may_be_half else BROKEN
    if re.search("[\ud800-\udfff]", repr_of(row)):
        return NO_TEXT
    expected = _json_object(row) if isinstance(row, Pairs) else BROKEN
    # A letter that cannot be told from what is put before a number of another spelling.
    is_marked = "\x01" in repr_of(row) and _OTHER_NUMBER.search(text)
    return replace(expected, reasons=expected.reasons | BROKEN.reasons) if is_marked else expected


def repr_of(value: object) -> str:
    """Return all texts in a value, one behind the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, (tuple, list)):
        return " ".join(repr_of(part) for part in value)
    return ""


def _json_object(row: Pairs) -> ExpectedRow:
    names = [name for name, _ in row]
    spelled = [plain for name in names if (plain := _plain(name)) in COLUMNS]
    if len(set(names)) < len(names) or len(set(spelled)) < len(spelled):
        return BROKEN
    values = {_plain(name): value for name, value in row}
    if any(isinstance(values.get(column), (bool, tuple, list)) for column in COLUMNS[:3]):
        return BROKEN
    columns = {c: text for c in COLUMNS if isinstance(text := _json_text(values.get(c)), str)}
    others = {name: _json_text(value) for name, value in row if _plain(name) not in COLUMNS}
    return ExpectedRow(_reasons(columns), columns, others, _time_of(columns))


def _json_text(value: object) -> object:
    match value:
        case str():
            return str(value)
        case bool():
            return str(value).lower()
        case None:
            return ""
    return value


def _time_of(columns: Mapping[str, str]) -> int | None:
    return MICROSECONDS if columns.get("timestamp") == MOMENT else None


def _reasons(columns: Mapping[str, str]) -> frozenset[str | None]:
    """Return why a row that can be parsed may be refused."""
    for column in COLUMNS[:3]:
        if column in columns and not columns[column].strip():
            return frozenset({f"blank_{column}"})
    if columns.get("timestamp") == MOMENT:
        return frozenset({None})
    return frozenset({None, "blank_timestamp", "unparsable_timestamp", "too_late", "future"})


# --- CSV by its standard

_FIELD = re.compile(r'(?:^|,)(?:"(?:[^"]|"")*"|[^",]*)')
_RECORD = re.compile(r'(?:[^",]*|"(?:[^"]|"")*")(?:,(?:[^",]*|"(?:[^"]|"")*"))*')


def _expected_csv(content: bytes) -> Expected | None:
    lines = _texts_of(content)
    texts = [line.decode("utf-8", "replace").lstrip("\ufeff") for line in lines]
    if any('"' in text and not (_RECORD.fullmatch(text) and "\\" not in text) for text in texts):
        return None  # quotes that are not those of the standard
    fields = [_csv_fields(text) for text in texts]
    names = [_plain(name) for name in (fields[0] if fields else ())]
    if any(names.count(column) != 1 for column in COLUMNS) or not _is_utf8(lines[0]):
        return REFUSED
    is_row = [text != texts[0] for text in texts]
    rows = [_csv_row(fields[0], row, line) for row, line, kept in zip(fields, lines, is_row, strict=True) if kept]
    return Expected(rows, may_be_refused=False)


def _csv_fields(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    fields = [field.removeprefix(",") for field in _FIELD.findall(text)]
    return [field[1:-1].replace('""', '"') if field.startswith('"') else field for field in fields]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _csv_row(names: list[str], fields: list[str], line: bytes) -> ExpectedRow:
    if not _is_utf8(line):
        return NO_TEXT
    if len(names) != len(fields):
        return BROKEN
    columns = {_plain(name): field for name, field in zip(names, fields, strict=True) if _plain(name) in COLUMNS}
    others = {name: field for name, field in zip(names, fields, strict=True) if _plain(name) not in COLUMNS}
    repeated = len(others) + len(COLUMNS) < len(names)
    return ExpectedRow(_reasons(columns), columns, None if repeated else others, _time_of(columns))


# --- Parquet as pyarrow reads it


def _expected_parquet(content: bytes) -> Expected | None:
    file = pq.ParquetFile(BytesIO(content))
    schema = file.schema_arrow
    names = [_plain(name) for name in schema.names]
    if any(names.count(column) != 1 for column in COLUMNS):
        return REFUSED
    kinds = {c: schema.field(names.index(c)).type for c in COLUMNS}
    codecs = {file.metadata.row_group(g).column(0).compression for g in range(file.metadata.num_row_groups)}
    if "BROTLI" in codecs or any(pa.types.is_nested(kind) for kind in kinds.values()):
        return REFUSED
    # Spark does not hold so late a time in a struct.
    is_extreme = any(_has_times(kind) for kind in schema.types)
    if len(set(schema.names)) < len(schema.names):
        return None  # pyarrow cannot tell them apart
    table = pq.read_table(BytesIO(content))
    if any(file.schema.column(i).physical_type == "INT96" for i in range(len(file.schema))):
        return Expected([UNKNOWN] * table.num_rows, may_be_refused=False)  # pyarrow knows fewer years
    rows = [_parquet_row(table, number) for number in range(table.num_rows)]
    return Expected(rows, may_be_refused=is_extreme)


def _has_times(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(pa.types.is_timestamp(field.type) for field in kind)


def _parquet_row(table: pa.Table, number: int) -> ExpectedRow:
    known: dict[str, Any] = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        value = column[number]
        if not value.is_valid:
            known[name] = ""
        elif (text := _parquet_text(value)) is not None:
            known[name] = text
    columns = {_plain(name): text for name, text in known.items() if _plain(name) in COLUMNS}
    others = [name for name in table.schema.names if _plain(name) not in COLUMNS]
    attributes = {name: known[name] for name in others} if set(others) <= set(known) else None
    time = _time(next(table.column(n)[number] for n in table.schema.names if _plain(n) == "timestamp"))
    if time is not None:
        columns["timestamp"] = MOMENT if 0 <= time <= MICROSECONDS else ""
    reasons = _reasons(columns) if len(columns) == len(COLUMNS) else UNKNOWN.reasons
    if time is not None:
        del columns["timestamp"]
    in_range = time is not None and FIRST <= time <= LAST
    return ExpectedRow(reasons, columns, attributes, time if in_range else None)


_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


def _time(value: pa.Scalar) -> int | None:
    """Return the microseconds since 1970 of a column of times."""
    if not pa.types.is_timestamp(value.type) or not value.is_valid:
        return None
    return int(value.value * 1_000_000 // _PER_SECOND[value.type.unit])


def _parquet_text(value: pa.Scalar) -> str | None:
    kind = value.type
    if isinstance(kind, pa.DictionaryType):
        return str(value.as_py())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return str(value.as_py())
    if pa.types.is_boolean(kind):
        return str(value.as_py()).lower()
    if pa.types.is_decimal(kind):
        return f"{value.as_py():f}"
    return None
