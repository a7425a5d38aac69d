"""Odd files: valid batches, changed at random until they may be none; each is made again from its format and number.

Must not know how batches are read, nor what should become of a file: `fuzzing_laws` says that.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from io import BytesIO
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ("user_id", "event_id", "product_code", "timestamp")
FORMATS = ("csv", "json", "parquet")
MOMENT = "2025-03-10 10:00:00.000001"

Change = Callable[[Random, bytes], bytes]


@dataclass(frozen=True)
class OddFile:
    """A file of one batch.

    Attributes:
        kind: one of `FORMATS`.
        number: makes it again, together with the kind.
        ending: of its name, behind the day: `.csv.gz`, or `/part.csv.gz` in a folder.
        content: its bytes.
        changes: what was done to a valid file, in order.
        is_damaged: bytes were changed, of a Parquet file or a compressed one: it may be read or not.
    """

    kind: str
    number: int
    ending: str
    content: bytes
    changes: tuple[str, ...]
    is_damaged: bool

    def name(self, arrival: date) -> str:
        """Return the path of the file in the landing."""
        return f"{arrival}{self.ending}"

    def __str__(self) -> str:
        """Return what a report says of it."""
        return f"{self.kind} {self.number} ({self.ending}: {', '.join(self.changes) or 'as it was'})"


def odd_file(kind: str, number: int) -> OddFile:
    """Return the file of a format and a number."""
    rng = Random(f"{kind} {number}")  # noqa: S311 - repeatable, not secret
    if kind == "parquet":
        return _odd_parquet(rng, number)
    changes: list[str] = []
    text = (_csv if kind == "csv" else _json)(rng, changes)
    if _chance(rng, 0.5):
        text = _changed(rng, text, TEXT_CHANGES, changes)
    suffix, is_damaged = {"csv": ".csv", "json": ".jsonl"}[kind], False
    if _chance(rng, 0.15):
        suffix, text = f"{suffix}.gz", gzip.compress(text, mtime=0)
        if is_damaged := _chance(rng, 0.5):
            text = _changed(rng, text, GZIP_CHANGES | BYTE_CHANGES, changes)
    return OddFile(kind, number, _ending(rng, suffix), text, tuple(changes), is_damaged)


def valid_file(kind: str) -> OddFile:
    """Return a file of two valid rows, as whoever delivers a batch would mend it."""
    rows = [("7", "a", "I", MOMENT), ("7", "x", "I", MOMENT)]
    if kind == "parquet":
        columns = [pa.array(values) for values in zip(*rows, strict=True)]
        return OddFile(kind, -1, ".parquet", _written(pa.table(columns, names=list(COLUMNS))), (), is_damaged=False)
    if kind == "csv":
        text = "".join(",".join(row) + "\n" for row in [COLUMNS, *rows])
        return OddFile(kind, -1, ".csv", text.encode(), (), is_damaged=False)
    text = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows)
    return OddFile(kind, -1, ".jsonl", text.encode(), (), is_damaged=False)


def _ending(rng: Random, suffix: str) -> str:
    return rng.choice((suffix, suffix, suffix, f"/part-0{suffix}", f"/a b%20c+ü{suffix}"))


def _chance(rng: Random, share: float) -> bool:
    return rng.random() < share


def _changed(rng: Random, content: bytes, changes: dict[str, Change], done: list[str]) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(list(changes))
        content = changes[name](rng, content)
        done.append(name)
    return content


# --- Bytes

PIECES = (
    b'"', b'""', b"'", b"\\", b'\\"', b",", b";", b"\t", b" ", b"\x00", b"\r", b"\n", b"\r\n", b"\x0b",
    b"\x0c", b"\x1a",
    b"\xef\xbb\xbf", b"\xff", b"\xc3\x28", b"\xed\xa0\xbd", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xef\xbf\xbd",
    b"\xc2\x85",
    b"\xe2\x80\xa8", b"\xc2\xa0", b"\\ud83d", b"\\ude00", b"\\u0000", b'":', b"{", b"}", b"[", b"]",
    b"null", b"-0", b"1e3", b"7.10", b"#", b"--", b"=1+1", b"\xf0\x9f\x98\x80",
)  # fmt: skip
LINE_ENDS = (b"\r", b"\r\n", b"\n\n", b"\n \n", b"\xe2\x80\xa8", b"\x0b", b"\x85", b"\x00")


def _place(rng: Random, content: bytes) -> int:
    return rng.randrange(len(content) + 1)


def _slice(rng: Random, content: bytes) -> tuple[int, int]:
    start = _place(rng, content)
    return start, min(len(content), start + rng.choice((1, 2, 5, 30)))


def _flip(rng: Random, content: bytes) -> bytes:
    if not content:
        return content
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _overwrite(rng: Random, content: bytes) -> bytes:
    start, end = _slice(rng, content)
    return content[:start] + rng.randbytes(end - start) + content[end:]


def _insert(rng: Random, content: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + rng.choice(PIECES) + content[at:]


def _cut_out(rng: Random, content: bytes) -> bytes:
    start, end = _slice(rng, content)
    return content[:start] + content[end:]


def _double(rng: Random, content: bytes) -> bytes:
    start, end = _slice(rng, content)
    return content[:end] + content[start:]


BYTE_CHANGES: dict[str, Change] = {
    "a bit flipped": _flip,
    "bytes overwritten": _overwrite,
    "a piece inserted": _insert,
    "bytes cut out": _cut_out,
    "bytes doubled": _double,
    "cut off": lambda rng, content: content[: _place(rng, content)],
    "zeros at the end": lambda _, content: content + bytes(64),
    "no bytes": lambda *_: b"",
}


# --- Lines


def _lines(change: Callable[[Random, list[bytes]], None]) -> Change:
    def changed(rng: Random, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True) or [b""]
        change(rng, lines)
        return b"".join(lines)

    return changed


def _joined(rng: Random, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    lines[at] = lines[at].rstrip(b"\r\n")


TEXT_CHANGES: dict[str, Change] = {
    **BYTE_CHANGES,
    "a piece inserted again": _insert,
    "lines in another order": _lines(lambda rng, lines: rng.shuffle(lines)),
    "a line dropped": _lines(lambda rng, lines: lines.__delitem__(rng.randrange(len(lines)))),
    "a line doubled": _lines(lambda rng, lines: lines.insert(rng.randrange(len(lines)), rng.choice(lines))),
    "lines joined": _lines(_joined),
    "another line end": lambda rng, content: content.replace(b"\n", rng.choice(LINE_ENDS), rng.choice((1, -1))),
    "no line end at the end": lambda _, content: content.rstrip(b"\r\n"),
    "a byte order mark": lambda _, content: b"\xef\xbb\xbf" + content,
    "two byte order marks": lambda _, content: b"\xef\xbb\xbf\xef\xbb\xbf" + content,
    "as UTF-16": lambda _, content: content.decode("utf-8", "replace").encode("utf-16"),
    "as Latin-1": lambda _, content: content.decode("utf-8", "replace").encode("latin-1", "replace"),
    "compressed unlike its name": lambda _, content: gzip.compress(content, mtime=0),
    "only white space": lambda rng, _: rng.choice(
        (b"\n", b" \n", b"\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", b"\x00")
    ),
}

GZIP_CHANGES: dict[str, Change] = {
    "two members": lambda _, content: content + content,
    "an empty member first": lambda _, content: gzip.compress(b"", mtime=0) + content,
    "no gzip": lambda _, content: content[10:],
    "without its checksum": lambda _, content: content[:-8],
    "another checksum": lambda rng, content: content[:-8] + rng.randbytes(8),
    "as zlib": lambda _, content: zlib.compress(content),
    "something behind the end": lambda rng, content: content + rng.choice(PIECES),
}


# --- Values and names of text

IDS = (
    "7",
    "007",
    "a",
    "x",
    "I",
    "ü日😀",
    "true",
    "null",
    "NaN",
    "{not}",
    "[",
    " 7 ",
    "1e3",
    "-0",
    "7.10",
    "\u00a0",
    "",
)
TIMES = (
    MOMENT, "2025-03-10T10:00:00Z", "2025-03-10 10:00", "2025-03-10 12:00:00+02:00", "2025-03-10", "1741600800", "",
    "2025-02-30 10:00:00", "9999-12-31 23:59:59.999999", "0001-01-01 00:00:00", "2025-03-10 10:00:00 Europe/Berlin",
    "12025-03-10 10:00:00", "2025-03-10 24:00:00", "2025-03-10 10:00:00.123456789123", "0000-00-00 00:00:00",
    "9999-12-31 23:59:59-18:00", "2025-03-10 10:00:00+99:99",
)  # fmt: skip
NAMES = (
    "more", "a.b", "`", "", " ", "value", "row", "rows", "others", "_metadata", "source_file", "_updated_at", "reason",
    "attributes", "event_time", "raw_text", "parse_error", "ü日😀", "user_id.1", "key", "0", "USER ID", "userid", "$x",
)  # fmt: skip
LONG = 2 << 20
MANY = 5_000


def _renamed(rng: Random, names: list[str]) -> str:
    at = rng.randrange(len(names))
    name = names[at]
    kind = rng.choice(("upper case", "blanks around", "white space around", "another name", "the name of another"))
    names[at] = {
        "upper case": name.upper(),
        "blanks around": f" {name} ",
        "white space around": f"\t{name}\u00a0",
        "another name": rng.choice(NAMES),
        "the name of another": rng.choice(names),
    }[kind]
    return f"a name: {kind}"


Table = list[list[str]]  # the header and the rows


def _restructured(rng: Random, table: Table, changes: list[str]) -> None:
    """Change the columns of a table of texts."""
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.choice(("rename", "rename", *COLUMN_CHANGES))
        if kind == "many" and not _chance(rng, 0.05):
            kind = "add"
        if kind == "rename":
            changes.append(_renamed(rng, table[0]))
            continue
        changes.append(f"columns: {kind}")
        at, order = rng.randrange(len(table[0])), rng.sample(range(len(table[0])), len(table[0]))
        for number, row in enumerate(table):
            other = rng.choice(IDS) if number else rng.choice(NAMES)
            row[:] = COLUMN_CHANGES[kind](row, at, other, order)
    if len(table) > 1 and _chance(rng, 0.1):
        changes.append("a field too many")
        table[1].append("more")


COLUMN_CHANGES: dict[str, Callable[[list[str], int, str, list[int]], list[str]]] = {
    "drop": lambda row, at, *_: row[:at] + row[at + 1 :] if len(row) > 1 else row,
    "double": lambda row, at, *_: [*row[: at + 1], *row[at:]],
    "add": lambda row, at, other, _: [*row[:at], other, *row[at:]],
    "add at the end": lambda row, _, other, __: [*row, other],
    "order": lambda row, _, __, order: [row[position] for position in order],
    "many": lambda row, *_: [*row, *map(str, range(MANY))],
}


def _valid_table(rng: Random) -> Table:
    rows = [[*rng.choices(IDS[:6], k=3), rng.choice(TIMES[:4])] for _ in range(rng.choice((0, 1, 2, 3, 5)))]
    return [list(COLUMNS), *rows]


def _other_value(rng: Random, table: Table, changes: list[str]) -> None:
    if len(table) == 1:
        return
    row = rng.choice(table[1:])
    at = rng.randrange(len(row))
    changes.append("another value")
    row[at] = "u" * LONG if _chance(rng, 0.01) else rng.choice(TIMES if at == len(COLUMNS) - 1 else IDS)


def _csv(rng: Random, changes: list[str]) -> bytes:
    table = _valid_table(rng)
    if _chance(rng, 0.3):
        _restructured(rng, table, changes)
    for _ in range(rng.choice((0, 1, 3))):
        _other_value(rng, table, changes)
    end = rng.choice(("\n", "\n", "\r\n"))
    has_quotes = _chance(rng, 0.3)
    lines = [",".join(f'"{text}"' if has_quotes and _chance(rng, 0.5) else text for text in row) for row in table]
    return "".join(line + end for line in lines).encode()


# --- JSON: each value as it is written

JSON_VALUES = (
    "7", "-7", "0", "-0", "7.10", "1e3", "1E+400", "-0.0", "9" * 300, "0.1" + "0" * 200, "true", "false",
    "null", "{}", "[]",
    '{"a": 1.0}', '{"a": [1e2, {"b": null, "c": "7.10"}], "d": -0}', "[1, 2.50]", '{"a": 1, "a": 2}', '[[[[["x"]]]]]',
    '""', '" "', '"\\u00a0"', '"\\u0000"', '"a\x00b"', '"\t"', '"\\t\\n\\r\\b\\f\\/"', '"a\\"b\\\\"', '"\\\\"', '"\\x"',
    '"\\ud83d"', '"\\ude00"', '"\\ud83d\\ude00"', '"\\ude00\\ud83d"', '"\\\\ud83d"', '"\\\\\\ud83d"',
    '"\\uD83D\\uDE00\\ud83d"',
    '"\\u0001"', '"\x01"', '{"a": "#", "b": 1.0}', '"\\\\u0001#\\\\u00017"',
    '"{not}"', '"[1"',
    '"true"', '"null"', "'7'", "NaN", "Infinity", "-Infinity", '"NaN"', "01", "+1", ".5", "1.", "0x10", "1_000", "tru",
    '"\\u12"', '"unclosed', "7,", "", '"ü日😀"', '"\ufffd"', '"\\ufffd"', '"\u2028"', '"\x7f"', '{"user_id": 1}',
    '{"":{"":1.5}}', '": 1.5,"', '"\\": 1.5, "', "1.5e", "1.5.5", "--1", "1e99999", "123456789012345678901234567890.10",
    '"2025-03-10 10:00:00"', "1741600800", "1741600800.5", "/* no */ 7", '{"a": NaN}', "[01]", '["\\ud83d"]',
)  # fmt: skip
JSON_NAMES = (
    '"\\u0075ser_id"', '"\\ud83d"', '"a\\"b"', '"\\u0000"', "'x'", "x", '"a: 1.0"', '"\\\\"', '"1.0"',
    '"user_id\\u0000"',
    '"user_id\\u0020"', "1", "1.5", "true", "null", '"USER_ID"', '"\u212a"', '"\\tuser_id"',
)  # fmt: skip

JsonRow = list[list[str]]  # pairs


def _deep(rng: Random) -> str:
    depth = rng.choice((10, 100, 300, 990, 1100, 5000, 50_000))
    return rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1.0" + "}" * depth, "[" * depth))


def _json_value(rng: Random) -> str:
    if _chance(rng, 0.03):
        return _deep(rng)
    if _chance(rng, 0.01):
        return rng.choice((f'"{"u" * LONG}"', f'["{"ü" * LONG}", 1.0]', "9" * 2_000, "9" * 2_000 + ".0"))
    return rng.choice(JSON_VALUES)


def _json_row(rng: Random) -> JsonRow:
    values = [*rng.choices(IDS[:6], k=3), rng.choice(TIMES[:4])]
    escape = _chance(rng, 0.3)
    return [[json.dumps(c), json.dumps(v, ensure_ascii=escape)] for c, v in zip(COLUMNS, values, strict=True)]


def _json_pairs(rng: Random, row: JsonRow, changes: list[str]) -> None:
    kind = rng.choice(("value", "value", "value", "value", "add", "add", "drop", "double", "name", "order", "many"))
    if kind == "many" and not _chance(rng, 0.05):
        kind = "value"
    at = rng.randrange(len(row)) if row else 0
    changes.append(f"JSON: {kind}")
    match kind:
        case "value" if row:
            row[at][1] = _json_value(rng)
        case "add":
            name = json.dumps(rng.choice(NAMES)) if _chance(rng, 0.6) else rng.choice(JSON_NAMES)
            row.insert(at, [name, _json_value(rng)])
        case "drop" if row:
            row.pop(at)
        case "double" if row:
            row.insert(rng.randrange(len(row)), [row[at][0], _json_value(rng)])
        case "name" if row:
            names = [name for name, _ in row]
            plain = [name.strip('"') for name in names]
            changes.append(_renamed(rng, plain))
            row[:] = [[json.dumps(name), value] for name, (_, value) in zip(plain, row, strict=True)]
        case "order":
            rng.shuffle(row)
        case "many":
            row.extend([f'"c{position}"', rng.choice(JSON_VALUES[:10])] for position in range(MANY))


JSON_FRAMES = (
    "{%s}", "{%s}", "{%s}", "{ %s }", " {%s} ", "\t{%s}\t", "[{%s}]", "{%s},", "{%s} {%s}", "{%s},{%s}", "{%s}]",
    "{%s,}", "{%s}//", "{%s} x", "\ufeff{%s}", "{%s",
)  # fmt: skip


def _json_line(rng: Random, row: JsonRow, changes: list[str]) -> str:
    frame, colon, comma = "{%s}", ": ", ", "
    if _chance(rng, 0.15):
        changes.append("JSON: other signs")
        frame = rng.choice(JSON_FRAMES)
        colon, comma = rng.choice((":", " : ", ":\t", ": ")), rng.choice((",", " , ", ", "))
    return frame.replace("%s", comma.join(colon.join(pair) for pair in row))


def _json(rng: Random, changes: list[str]) -> bytes:
    rows = [_json_row(rng) for _ in range(rng.choice((1, 2, 3, 5)))]
    for _ in range(rng.choice((0, 1, 2, 3))):
        _json_pairs(rng, rng.choice(rows), changes)
    return "".join(_json_line(rng, row, changes) + "\n" for row in rows).encode("utf-8", "surrogatepass")


# --- Parquet

I8, I16, I32, I64 = (2 ** (bits - 1) for bits in (8, 16, 32, 64))
_UNITS = ("s", "ms", "us", "ns")
_ZONES = (None, "UTC", "Europe/Berlin")
_COUNTS = (0, 1, -1, 1_741_600_800, 1_741_600_800_000, 1_741_600_800_000_001, 1_741_600_800_000_001_999)
_WIDE = (I64 - 1, -I64, -I64 + 1, 253_402_300_799_999, -62_135_596_800_000, 253_402_300_800_000_000, I64 // 1000)


def _times(unit: str) -> tuple[int, ...]:
    # pyarrow stores seconds as milliseconds.
    return tuple(count for count in (*_COUNTS, *_WIDE) if unit != "s" or abs(count) < I64 // 1000)


PARQUET_TYPES: dict[str, tuple[pa.DataType, Sequence[Any]]] = {
    "string": (pa.string(), IDS),
    "large_string": (pa.large_string(), IDS),
    "string_view": (pa.string_view(), IDS),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), IDS),
    "binary": (pa.binary(), (b"7", b"", b"\xff", "ü".encode(), b"a\x00b")),
    "large_binary": (pa.large_binary(), (b"7", b"\xed\xa0\xbd")),
    "fixed": (pa.binary(4), (b"7777", b"\xff\xfe\x00\x01")),
    "fixed16": (pa.binary(16), (bytes(16), bytes(range(240, 256)))),
    "uuid": (pa.uuid(), (bytes(16), bytes(range(16)))),
    "json": (pa.json_(), ('{"a": 1}', "7", "no json")),
    "bool": (pa.bool_(), (True, False)),
    "int8": (pa.int8(), (0, 7, I8 - 1, -I8)),
    "int16": (pa.int16(), (7, I16 - 1, -I16)),
    "int32": (pa.int32(), (7, I32 - 1, -I32)),
    "int64": (pa.int64(), (7, I64 - 1, -I64, 1_741_600_800)),
    "uint8": (pa.uint8(), (7, 255)),
    "uint16": (pa.uint16(), (7, 2**16 - 1)),
    "uint32": (pa.uint32(), (7, 2**32 - 1)),
    "uint64": (pa.uint64(), (7, 2**63, 2**64 - 1)),
    "float16": (pa.float16(), (1.5, float("nan"), float("inf"))),
    "float": (pa.float32(), (1.5, -0.0, float("nan"), float("-inf"), 1e38)),
    "double": (pa.float64(), (7.0, -0.0, float("nan"), float("inf"), 1e308, 5e-324)),
    "decimal5": (pa.decimal128(5, 2), (Decimal("7.10"), Decimal("-999.99"))),
    "decimal18": (pa.decimal128(18, 0), (Decimal(10**18 - 1),)),
    "decimal38": (pa.decimal128(38, 10), (Decimal("7.1"), Decimal(10**27))),
    "decimal38whole": (pa.decimal128(38, 0), (Decimal(10**37),)),
    "decimal76": (pa.decimal256(76, 3), (Decimal("7.125"), Decimal(10**70))),
    "date32": (pa.date32(), (0, 20_157, I32 - 1, -I32, -719_162, 2_932_896, -719_163, 2_932_897)),
    "date64": (pa.date64(), (0, 86_400_000 * 20_157)),
    "time32s": (pa.time32("s"), (0, 86_399)),
    "time32ms": (pa.time32("ms"), (0, 86_399_999, 86_400_000, -1, I32 - 1, -I32)),
    "time64us": (pa.time64("us"), (0, 86_399_999_999, -1, I64 - 1, -I64)),
    "time64ns": (pa.time64("ns"), (0, 86_399_999_999_999, -1, I64 - 1, -I64)),
    **{
        f"timestamp[{unit}, {zone}]": (pa.timestamp(unit, zone), _times(unit)) for unit in _UNITS for zone in _ZONES
    },
    "duration": (pa.duration("us"), (0, I64 - 1, -I64)),
    "null": (pa.null(), (None,)),
    "list": (pa.list_(pa.int32()), ([], [7], [None, 1])),
    "fixed_list": (pa.list_(pa.float32(), 2), ([1.5, float("nan")],)),
    "large_list": (pa.large_list(pa.string()), (["a", None, "ü"],)),
    "list of ns": (pa.list_(pa.timestamp("ns")), ([0, I64 - 1],)),
    "list of time": (pa.list_(pa.time64("ns")), ([0, 86_399_999_999_999],)),
    "list of binary": (pa.list_(pa.binary()), ([b"\xff", b"a"],)),
    "list of uint64": (pa.list_(pa.uint64()), ([2**64 - 1],)),
    "list of half": (pa.list_(pa.float16()), ([1.5],)),
    "list of lists": (pa.list_(pa.list_(pa.string())), ([[], ["a"], None],)),
    "struct": (pa.struct({"a": pa.int32(), "b": pa.string()}), ({"a": 1, "b": None}, {"a": None, "b": "ü"})),
    "struct of times": (
        pa.struct({"t": pa.timestamp("ms", "UTC"), "d": pa.date32(), "u": pa.time64("us")}),
        ({"t": I64 - 1, "d": I32 - 1, "u": 0}, {"t": -I64, "d": -I32, "u": None}),
    ),
    "struct of null": (pa.struct({"n": pa.null(), "h": pa.float16()}), ({"n": None, "h": 1.5},)),
    "map": (pa.map_(pa.string(), pa.int32()), ([("a", 1)], [], [("a", 1), ("a", 2)])),
    "map of binary": (pa.map_(pa.binary(), pa.binary()), ([(b"\xff", b"\xff")],)),
    "map of numbers": (pa.map_(pa.int32(), pa.list_(pa.int32())), ([(1, [2])],)),
}  # fmt: skip
_CODECS = ("none", "snappy", "gzip", "zstd", "lz4") * 5 + ("brotli",)


def _written(table: pa.Table, **options: Any) -> bytes:  # noqa: ANN401 - what pyarrow takes
    file = BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def _array(rng: Random, kind: str, rows: int) -> pa.Array:
    type_, values = PARQUET_TYPES[kind]
    chosen = [None if _chance(rng, 0.1) else rng.choice(values) for _ in range(rows)]
    if isinstance(type_, pa.ExtensionType):
        return pa.ExtensionArray.from_storage(type_, pa.array(chosen, type_.storage_type))
    return pa.array(chosen, type_)


def _odd_parquet(rng: Random, number: int) -> OddFile:
    changes: list[str] = []
    rows = rng.choice((0, 1, 2, 3, 7))
    names, kinds = list(COLUMNS), ["string"] * 3 + [rng.choice(("string", *_TIME_TYPES))]
    for _ in range(rng.choice((0, 1, 1, 2))):
        kinds[at := rng.randrange(4)] = rng.choice(_PLAIN_TYPES if _chance(rng, 0.9) else list(PARQUET_TYPES))
        changes.append(f"{names[at]}: {kinds[at]}")
    for _ in range(rng.choice((0, 1, 2, 4))):
        kinds.append(rng.choice(list(PARQUET_TYPES)))
        names.append(f"{rng.choice(NAMES)}{len(names) if _chance(rng, 0.7) else ''}")
        changes.append(f"{names[-1]!r}: {kinds[-1]}")
    if _chance(rng, 0.1):
        changes.append(_renamed(rng, names))
    arrays = [_array(rng, kind, rows) for kind in kinds]
    if kinds[3] == "string":
        arrays[3] = pa.array([rng.choice(TIMES) for _ in range(rows)], pa.string())
    if _chance(rng, 0.01):
        changes.append("many columns")
        names += [f"c{position}" for position in range(MANY // 5)]
        arrays += [pa.array([position] * rows, pa.int32()) for position in range(MANY // 5)]
    table, options = pa.table(arrays, names=names), _parquet_options(rng, kinds, changes)
    try:
        content = _written(table, **options)
    except pa.ArrowInvalid:  # older versions of the format have no nanoseconds
        content = _written(table, **options | {"version": "2.6"})
    if is_damaged := _chance(rng, 0.1):
        content = _changed(rng, content, PARQUET_CHANGES, changes)
    return OddFile("parquet", number, _ending(rng, ".parquet"), content, tuple(changes), is_damaged)


# A bit flipped in the header of a page can make Spark read for ever, which nothing stops: so none is flipped here.
PARQUET_CHANGES: dict[str, Change] = {
    "cut off": BYTE_CHANGES["cut off"],
    "no bytes": BYTE_CHANGES["no bytes"],
    "zeros at the end": BYTE_CHANGES["zeros at the end"],
    "another beginning": lambda rng, content: rng.randbytes(4) + content[4:],
    "another length of the footer": lambda rng, content: content[:-8] + rng.randbytes(4) + content[-4:],
    "without its footer": lambda _, content: content[: -8 - int.from_bytes(content[-8:-4], "little")],
}
_PLAIN_TYPES = [kind for kind, (type_, _) in PARQUET_TYPES.items() if not pa.types.is_nested(type_)]
_TIME_TYPES = [kind for kind in PARQUET_TYPES if kind.startswith("timestamp")]


def _parquet_options(rng: Random, kinds: Sequence[str], changes: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "compression": rng.choice(_CODECS),
        "version": rng.choice(("1.0", "2.4", "2.6")),
        "data_page_version": rng.choice(("1.0", "2.0")),
        "use_dictionary": rng.choice((True, False)),
        "row_group_size": rng.choice((None, 1, 2)),
        "store_schema": rng.choice((True, False)),
        "write_statistics": rng.choice((True, False)),
        "write_page_checksum": rng.choice((True, False)),
    }
    if _chance(rng, 0.1) and not any(kind.startswith("list of ns") for kind in kinds):
        options["use_deprecated_int96_timestamps"] = True
    changes.append(" ".join(str(options[name]) for name in ("compression", "version", "data_page_version")))
    return options
