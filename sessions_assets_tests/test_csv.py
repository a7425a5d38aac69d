"""CSV as the world writes it: dialects, line ends inside quotes, stray quotes, separators, compression, odd files."""

import bz2
import csv
import gzip
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from sessions_assets.landing import records
from sessions_assets.landing.batches import DeliveryError, Landing
from sessions_assets.landing.readers import read_rows
from sessions_assets.landing.records import BACKSLASH, RFC_4180, Dialect
from sessions_assets.rule.input_format import InputFormat
from sessions_assets_tests.tables import day

TEXTS = st.text(st.sampled_from('ab",;\\\n\r é'), max_size=6)
ROWS = st.lists(st.lists(TEXTS, min_size=4, max_size=4), min_size=1, max_size=6)


def lines(text: str) -> list[bytes]:
    return text.encode().splitlines(keepends=True)


def read(text: str, dialects: tuple[Dialect, ...] = (RFC_4180, BACKSLASH), separator: str = ",") -> list[str]:
    return [record.decode() for record in records.records(lines(text), 4, separator, dialects)]


def values(found: Iterable[str], dialect: Dialect, separator: str = ",") -> list[list[str] | None]:
    return [dialect.split(record, separator) for record in found]


QUOTING = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])


@given(ROWS, QUOTING, st.sampled_from(["\n", "\r\n"]), st.sampled_from(",;"))
def test_what_python_writes_is_read_back(rows: list[list[str]], quoting: int, end: str, separator: str) -> None:
    """Line ends inside quotes too; only with LF, Python leaves a field with a lone CR without quotes."""
    if end == "\n" and quoting == csv.QUOTE_MINIMAL:
        rows = [[text.replace("\r", "\n") for text in row] for row in rows]
    file = io.StringIO()
    csv.writer(file, quoting=quoting, lineterminator=end, delimiter=separator).writerows(rows)
    assert values(read(file.getvalue(), separator=separator), RFC_4180, separator) == rows


def in_backslashes(text: str) -> str:
    """Write a field as Spark does, which quotes it for any of these characters."""
    if text and not set(text) & set('",\n\r'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(ROWS)
def test_what_spark_writes_is_read_back(rows: list[list[str]]) -> None:
    text = "".join(",".join(in_backslashes(field) for field in row) + "\n" for row in rows)
    assert values(read(text, (BACKSLASH, RFC_4180)), BACKSLASH) == rows


@given(ROWS, st.integers(0, 5), st.sampled_from(['1,a,I,"2\n', '"1,a,I,2\n', '1,a"b,I,2\n', '1,"a"b,I,2\n', '"\n']))
def test_a_stray_quote_spoils_no_other_row(rows: list[list[str]], position: int, stray: str) -> None:
    """Rows without quotes are read as they are, whatever stands between them."""
    rows = [[text.translate(dict.fromkeys(map(ord, '"\r\n,'), "x")) for text in row] for row in rows]
    good = [",".join(row) + "\n" for row in rows]
    good.insert(min(position, len(rows)), stray)
    assert read("".join(good)) == [line.removesuffix("\n") for line in good]


def test_workers_need_neither_this_package_nor_pandas() -> None:
    """What joins lines is sent to them whole."""
    join = partial(records.of_files, fields=4, separator=",", header=b"x", dialects=(RFC_4180, BACKSLASH))
    code = (
        "import pickle, sys\n"
        "sys.modules.update(dict.fromkeys(('sessions_assets', 'pandas', 'pyarrow')))\n"
        "join = pickle.load(sys.stdin.buffer)\n"
        "print(list(join([('f', b'1,\"a'), ('f', b'b\",c,d')])))"
    )
    out = subprocess.run(  # noqa: S603 - the Python of the tests
        [sys.executable, "-c", code], input=cloudpickle.dumps(join), capture_output=True, check=True
    )
    assert out.stdout == b"[('f', b'1,\"a\\nb\",c,d')]\n"


CUT: dict[str, tuple[str, list[str]]] = {
    "a field of two lines": ('1,"a\nb",c,d\n2,b,c,d\n', ['1,"a\nb",c,d', "2,b,c,d"]),
    "lines that look like records": ('1,a,"I\n2,b,c,d\n",d\n', ['1,a,"I\n2,b,c,d\n",d']),
    "two fields of two lines": ('1,"a\r\nb","c\rd",d\r\n', ['1,"a\r\nb","c\rd",d']),
    "too many fields": ('1,"a\nb",c,d,e\n2,b,c,d\n', ['1,"a', 'b",c,d,e', "2,b,c,d"]),
    "too few fields": ('1,"a\nb",c\n2,b,c,d\n', ['1,"a', 'b",c', "2,b,c,d"]),
    "text after the closing quote": ('1,"a\nb"x,c,d\n2,b,c,d\n', ['1,"a', 'b"x,c,d', "2,b,c,d"]),
    "a quote that nothing closes": ('1,"a,c,d\n2,b,c,d\n3,"b",c,d\n', ['1,"a,c,d', "2,b,c,d", '3,"b",c,d']),
    "two of them": ('1,"a,c,d\n2,"b,c,d\n3,b,c,d\n', ['1,"a,c,d', '2,"b,c,d', "3,b,c,d"]),
    "1,000 lines": ('1,"' + "\n" * 999 + '",c,d\n', ['1,"' + "\n" * 999 + '",c,d']),
    "1,001 lines": ('1,"' + "\n" * 1000 + '",c,d\n', ['1,"', *[""] * 999, '",c,d']),
    "no line end at the end": ('1,"a\nb",c,d', ['1,"a\nb",c,d']),
    "lines that end in CR": ('1,"a\rb",c,d\r2,b,c,d\r', ['1,"a\rb",c,d', "2,b,c,d"]),
}


@pytest.mark.parametrize("name", CUT)
def test_how_lines_become_records(name: str) -> None:
    text, expected = CUT[name]
    assert read(text) == expected


@pytest.mark.parametrize(("size", "number"), [(1 << 20, 1), ((1 << 20) + 1, 2)])
def test_a_record_that_spans_lines_has_at_most_one_mebibyte(size: int, number: int) -> None:
    """After its first line, which may be as long as it likes."""
    rest = '",c,d\n'
    assert len(read('1,"' + "x" * 2_000_000 + "\n" + "x" * (size - len(rest)) + rest)) == number


# --- Through Spark

H = "user_id,event_id,product_code,timestamp"
T = "2025-03-10 10:00:00"
E = f"7,a,I,{T}\n"
EVENT = ("7", "a", "I", T)
HUGE = "u" * 10_000_000
WIDE = [f"n{i}" for i in range(21_000)]
SPREAD = ("1", "a,b", "c", T), ("2", 'say "hi"', "\r\n", T), ("3", "\n,\n", "x\ry", T), ("4", "", "é\\", T)

Rows = list[tuple[str | None, ...]]
# Of each case its file, the rows, what is refused as unparsable, and attributes.
Case = tuple[str, str | bytes, Rows, list[str]]


def written(rows: Iterable[Iterable[str]], *, end: str = "\r\n", quoting: int = csv.QUOTE_MINIMAL) -> str:
    """Write rows with a header, as Python does."""
    file = io.StringIO()
    csv.writer(file, quoting=quoting, lineterminator=end).writerows([H.split(","), *rows])
    return file.getvalue()


def in_spark(rows: Iterable[Iterable[str]]) -> str:
    return "".join(",".join(map(in_backslashes, row)) + "\n" for row in [H.split(","), *rows])


CASES: dict[str, Case] = {
    "Python": (".csv", written(SPREAD), [*SPREAD[:3], ("4", None, "é\\", T)], []),
    "Python, all quoted, gzipped": (
        ".csv.gz",
        gzip.compress(written(SPREAD, quoting=csv.QUOTE_ALL).encode()),
        list(SPREAD),
        [],
    ),
    "pandas": (".csv", written(SPREAD, end="\n", quoting=csv.QUOTE_ALL), list(SPREAD), []),
    "Spark": (".csv", in_spark(SPREAD), list(SPREAD), []),
    "Spark, without line ends": (
        ".csv",
        in_spark([("1", 'a"b', "I", T), ("2", "a\\,b", "I", T)]),
        [("1", 'a"b', "I", T), ("2", "a\\,b", "I", T)],
        [],
    ),
    "an empty field is NULL, a quoted one is not": (".csv", f'{H}\n1,"",,{T}\n', [("1", "", None, T)], []),
    "a stray quote before and after": (
        ".csv",
        f'{H}\n1,"a,I,{T}\n{E}8,"a\nb",I,{T}\n9,a",I,{T}\n{E}',
        [EVENT, EVENT, ("8", "a\nb", "I", T)],
        [f'1,"a,I,{T}', f'9,a",I,{T}'],
    ),
    "a stray quote at the end of a line": (".csv", f'{H}\n{E}1,a,{T},I"\n', [EVENT], [f'1,a,{T},I"']),
    "pairs of quotes inside a field": (
        ".csv",
        f'{H}\n1,5"x"6,I,{T}\n2,"a"b"c",I,{T}\n3,"a" ,I,{T}\n',
        [("1", '5"x"6', "I", T), ("2", '"a"b"c"', "I", T), ("3", "a", "I", T)],
        [],
    ),
    "bytes that are not UTF-8, beside a line end in quotes": (
        ".csv",
        f'{H}\n1,"a\nb",I,{T}\n'.encode() + b"\xe9,a,I,x\n",
        [("1", "a\nb", "I", T)],
        ["\ufffd,a,I,x"],
    ),
    "a header of two lines, again in the middle": (
        ".csv",
        (TWO_LINES := '\ufeff"user_id","event_id","a\r\nb",product_code,timestamp\r\n')
        + f"1,a,x,I,{T}\r\n{TWO_LINES}2,a,,I,{T}\r\n",
        [("1", "a", "I", T), ("2", "a", "I", T)],
        [],
    ),
    "blank lines, also inside quotes": (".csv", f'\n{H}\n\n1,"a\n\n\nb",I,{T}\n\n', [("1", "a\n\n\nb", "I", T)], []),
    "two byte order marks, and at the joint": (".csv", f"\ufeff\ufeff{H}\n{E}\ufeff\ufeff{H}\n{E}", [EVENT, EVENT], []),
    "lines that end in CR": (".csv", f'{H}\r{E[:-1]}\r1,"a\rb",I,{T}\r', [("1", "a\rb", "I", T), EVENT], []),
    "tabs": (".tsv", f'{H}\n1,"a\tb",I,{T}\n'.replace(",", "\t"), [("1", "a\tb", "I", T)], []),
    "tabs, gzipped": (".tsv.gz", gzip.compress(f"{H}\n{E}".replace(",", "\t").encode()), [EVENT], []),
    "bzip2": (".csv.bz2", bz2.compress(f'{H}\n1,"a\nb",I,{T}\n'.encode()), [("1", "a\nb", "I", T)], []),
    "25,000 separators": (".csv", f"{H}\n{',' * 25_000}\n{E}{E}", [EVENT, EVENT], ["," * 25_000]),
    "25,000 separators inside quotes": (
        ".csv",
        f'{H}\n1,"{"," * 25_000}",I,{T}\n',
        [("1", "," * 25_000, "I", T)],
        [],
    ),
    "a field of 10 MB": (".csv", f"{H}\n{HUGE},a,I,{T}\n", [(HUGE, "a", "I", T)], []),
    "a quoted field of 10 MB": (".csv", f'{H}\n"{HUGE}",a,"I\nJ",{T}\n', [(HUGE, "a", "I\nJ", T)], []),
}


@pytest.fixture(scope="module")
def found(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Rows, list[str]]]:
    """Every case is a day of its own, all read at once."""
    folder = tmp_path_factory.mktemp("csv")
    for number, (suffix, content, _, _) in enumerate(CASES.values()):
        (folder / f"{day(number)}{suffix}").write_bytes(content.encode() if isinstance(content, str) else content)
    landing = Landing(str(folder))
    batches = landing.find([day(number) for number in range(len(CASES))])
    rows = read_rows(spark, landing, list(batches.values())).collect()
    cases: dict[str, tuple[Rows, list[str]]] = {}
    for number, name in enumerate(CASES):
        of_day = [row for row in rows if row["_updated_at"] == day(number)]
        good = [tuple(row[column] for column in H.split(",")) for row in of_day if not row["parse_error"]]
        cases[name] = (good, sorted(row["raw_text"] for row in of_day if row["parse_error"]))
    return cases


@pytest.mark.parametrize("name", CASES)
def test_csv_as_others_write_it(name: str, found: dict[str, tuple[Rows, list[str]]]) -> None:
    _, _, rows, refused = CASES[name]
    assert (sorted(found[name][0], key=str), found[name][1]) == (sorted(rows, key=str), refused)


def one_file(spark: SparkSession, folder: Path, name: str, content: str | bytes, separator: str = ",") -> Rows:
    """Return events with attributes and raw text."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    landing = Landing(str(folder), input_format=InputFormat(csv_separator=separator))
    rows = read_rows(spark, landing, list(landing.find([day(0)]).values()))
    return [tuple(row) for row in rows.select(*H.split(","), "attributes", "raw_text").collect()]


def test_names_of_any_kind_and_a_record_as_text(spark: SparkSession, tmp_path: Path) -> None:
    """An empty field is left out, a quoted one is not; the text of a record is that of its lines."""
    names = 'a.b,`c`,"say ""hi""","two\nlines","{""j""}",,x,x,x.1'
    record = f'1,"a\r\nb",I,{T},1,2,3,4,5,6,"",,7'
    rows = one_file(spark, tmp_path, "2025-03-10.csv", f"{H},{names}\r\n{record}\r\n")
    others = {"a.b": "1", "`c`": "2", 'say "hi"': "3", "two\nlines": "4", '{"j"}': "5", "": "6", "x": "", "x.1.1": "7"}
    assert rows == [("1", "a\r\nb", "I", T, others, record)]


def test_a_header_of_21_000_columns(spark: SparkSession, tmp_path: Path) -> None:
    values = [f'"{i}"' if i % 2 else str(i) for i in range(20_999)]
    text = f"{H},{','.join(WIDE)}\n1,a,I,{T},{','.join(values)},\n"
    rows = one_file(spark, tmp_path, "2025-03-10.csv", text)
    assert [row[:4] for row in rows] == [("1", "a", "I", T)]
    assert rows[0][4] == {f"n{i}": str(i) for i in range(20_999)}


def test_zstandard(spark: SparkSession, tmp_path: Path) -> None:
    """Python cannot read it before 3.14: the header is read by Spark's own codec."""
    java: Any = spark._jvm  # noqa: SLF001 - the library that Spark has, to write one
    compressed = java.com.github.luben.zstd.Zstd.compress(f'{H}\n1,"a\nb",I,{T}\n'.encode())
    assert [row[:4] for row in one_file(spark, tmp_path, "2025-03-10.csv.zst", compressed)] == [("1", "a\nb", "I", T)]


@pytest.mark.parametrize("records", [f'1,"a\nb",I,{T}\r\n', f"1,a,I,{T}\n1,b,I,{T}\n", f'1,"a",I,{T}\n'])
def test_zero_bytes_after_gzip_data(records: str, spark: SparkSession, tmp_path: Path) -> None:
    """As a tape leaves them: the records are those of the file without them, wherever a member ends."""
    (tmp_path / "plain").mkdir()
    rows = one_file(spark, tmp_path / "plain", "2025-03-10.csv", f"{H}\n{records}")
    members = gzip.compress(f"{H}\n1".encode()) + gzip.compress(records[1:].encode())
    assert one_file(spark, tmp_path, "2025-03-10.csv.gz", members + bytes(512)) == rows


@pytest.mark.parametrize("separator", [";", "|", "\t"])
def test_another_separator(separator: str, spark: SparkSession, tmp_path: Path) -> None:
    text = f'{H}\n1,"a\n{separator}b",I,{T}\n'.replace(",", separator)
    assert [row[:4] for row in one_file(spark, tmp_path, "2025-03-10.csv", text, separator)] == [
        ("1", f"a\n{separator}b", "I", T)
    ]


def zipped(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.csv", text)
    return file.getvalue()


DAMAGED = gzip.compress(H.encode())[:-8] + bytes([1, 2, 3, 4, len(H), 0, 0, 0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("2025-03-10.csv", gzip.compress(H.encode()), "it is a gzip file: expected UTF-8 text, as its name says"),
        ("2025-03-10.jsonl", bz2.compress(b"{}"), "it is a bzip2 file: expected UTF-8 text"),
        ("2025-03-10.csv.gz", H.encode(), "it is not compressed: expected a gzip file, as its name says"),
        ("2025-03-10.csv.gz", bz2.compress(b"{}"), "it is a bzip2 file: expected a gzip file"),
        ("2025-03-10.csv.gz", DAMAGED + bytes(512), "CRC check failed"),
        ("2025-03-10.tsv.bz2", H.encode(), "it is not compressed: expected a bzip2 file"),
        ("2025-03-10.csv.zst", H.encode(), "it is not compressed: expected a Zstandard file"),
        ("2025-03-10.csv", H.encode("utf-16"), "it is UTF-16 text: expected UTF-8 text"),
        ("2025-03-10.csv.gz", gzip.compress(H.encode("utf-16")), "it is UTF-16 text: expected UTF-8 text"),
        ("2025-03-10.csv", zipped(H), "it is a zip archive: expected UTF-8 text"),
        ("2025-03-10.csv", b"PAR1\0\0", "it is a Parquet file: expected UTF-8 text"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(
    name: str, content: bytes, message: str, spark: SparkSession, tmp_path: Path
) -> None:
    with pytest.raises(DeliveryError, match=f"{name} cannot be read: {message}"):
        one_file(spark, tmp_path, name, content)
