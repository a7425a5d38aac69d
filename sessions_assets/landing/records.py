"""Records of CSV: which lines of a file belong together, because a quoted field contains a line end.

Plain Python on bytes, streaming, in bounded memory. Must not know Spark, and must not import anything of this package:
Spark's workers receive it by value and need not have the package installed.
Source of the rules: RFC 4180, R8 (a row that the format cannot parse spoils no other).
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

MOST_LINES = 1000
MOST_BYTES = 1 << 20
"""A record has at most as many lines, and as many bytes after its first line: a stray quote spoils no more."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Dialect:
    """How a quoted field is written. The patterns mean the same in Python and Java.

    Attributes:
        escape: the character before a quote inside a quoted field.
        text: pattern of what is between the quotes of a field. It never backtracks, and needs no stack in Java.
    """

    escape: str
    text: str

    def field(self, separator: str) -> str:
        """Return the pattern of a field."""
        return rf'(?:"{self.text}"|[^"\r\n{re.escape(separator)}]*+)'

    def record(self, separator: str, fields: int | None = None) -> str:
        """Return the pattern of a record with this number of fields; None: with any."""
        times = "*+" if fields is None else f"{{{fields - 1}}}+"
        return f"(?:{self.field(separator)}{re.escape(separator)}){times}{self.field(separator)}"

    def beginning(self, separator: str) -> str:
        """Return the pattern of a line that ends inside a quoted field; what is before that field is a group."""
        return f'((?:{self.field(separator)}{re.escape(separator)})*+)"{self.text}'

    def end(self, separator: str) -> str:
        """Return the pattern of a line that closes a quoted field.

        The fields after it are a group; another one is there if the line then ends inside one more quoted field.
        """
        mark = re.escape(separator)
        whole = f"{mark}{self.field(separator)}(?![^{mark}])"
        return f'{self.text}"((?:{whole})*+)({mark}"{self.text})?'

    def split(self, record: str, separator: str) -> list[str] | None:
        """Return the values of a record; None if it is not of this dialect."""
        if not re.fullmatch(self.record(separator), record):
            return None
        fields = re.findall(f"{re.escape(separator)}({self.field(separator)})", separator + record)
        escaped = re.compile(rf'{re.escape(self.escape)}(["{re.escape(self.escape)}])')
        return [escaped.sub(r"\1", field[1:-1]) if field.startswith('"') else field for field in fields]


RFC_4180 = Dialect('"', r'[^"]*+(?:""[^"]*+)*+')
"""A quote inside a quoted field is doubled: spreadsheets, Python, pandas."""

BACKSLASH = Dialect("\\", r'[^"\\]*+(?:\\["\\][^"\\]*+)*+')
"""A quote or a backslash inside a quoted field has a backslash before it: Spark."""


def of_files(
    rows: Iterable[tuple[str, bytes]], fields: int, separator: str, header: bytes, dialects: tuple[Dialect, ...]
) -> Iterator[tuple[str, bytes]]:
    """Return the records of files.

    Args:
        rows: files and their lines in order, the lines without LF.
        fields: see `records`.
        separator: see `records`.
        header: the header; byte order marks before it are left out, also in the middle of a file.
        dialects: see `records`.
    """
    first_line = header.splitlines()[0]
    for file, group in groupby(rows, key=itemgetter(0)):
        lines = (line for _, value in group for line in (bytes(value) + b"\n").splitlines(keepends=True))
        plain = (_without_mark(line, first_line) for line in lines)
        for record in records(plain, fields, separator, dialects):
            yield file, record


def _without_mark(line: bytes, first_line: bytes) -> bytes:
    if not line.startswith(BYTE_ORDER_MARK):
        return line
    rest = without_marks(line)
    return rest if rest.startswith(first_line) else line


def without_marks(line: bytes) -> bytes:
    """Return a line without the byte order marks that it begins with."""
    while line.startswith(BYTE_ORDER_MARK):
        line = line.removeprefix(BYTE_ORDER_MARK)
    return line


def records(
    lines: Iterable[bytes], fields: int | None, separator: str, dialects: tuple[Dialect, ...] = (RFC_4180, BACKSLASH)
) -> Iterator[bytes]:
    """Return the records of one file: lines, or several lines joined as they are; without the line end of the last one.

    Args:
        lines: the lines with their ends, which are LF, CR LF or CR.
        fields: how many a record has; None: any number.
        separator: between fields.
        dialects: in this order; a line is joined with the next ones only if that makes a record of one of them.
    """
    source, ahead = iter(lines), deque[bytes]()
    readers = [_Reader(dialect, separator, fields) for dialect in dialects]
    while ahead or (ahead := deque(line for line in [next(source, b"")] if line)):
        taken = 1
        if b'"' in ahead[0]:
            # A line that no dialect can read is a record of its own, and reading goes on at the next line.
            taken = next((taken for reader in readers if (taken := reader.taken(ahead, source))), 1)
        yield _without_end(b"".join(ahead.popleft() for _ in range(taken)))


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


class _Reader:
    """Reads records in one dialect; the arguments are those of `records`."""

    def __init__(self, dialect: Dialect, separator: str, fields: int | None) -> None:
        self._separator, self._fields = separator.encode(), fields
        self._quoted = re.compile(f'"{dialect.text}"'.encode())
        self._whole = re.compile(dialect.record(separator, fields).encode())
        self._beginning = re.compile(dialect.beginning(separator).encode())
        self._inside = re.compile(dialect.text.encode())
        self._end = re.compile(dialect.end(separator).encode())

    def taken(self, ahead: deque[bytes], source: Iterator[bytes]) -> int:
        """Return how many lines make the next record; 0 if they make none.

        Args:
            ahead: the lines that were read and not yet taken, at least one; those that are looked at are appended.
            source: the lines after them.
        """
        line = _without_end(ahead[0])
        if self._whole.fullmatch(line):
            return 1
        if not (begun := self._beginning.fullmatch(line)):
            return 0
        return self._joined(self._count(begun[1]), ahead, source)

    def _joined(self, fields: int, ahead: deque[bytes], source: Iterator[bytes]) -> int:
        size = 0
        for number in range(1, MOST_LINES):
            if number == len(ahead):
                ahead.extend(line for line in [next(source, b"")] if line)
            if number == len(ahead) or (size := size + len(ahead[number])) > MOST_BYTES:
                return 0
            line = _without_end(ahead[number])
            if self._inside.fullmatch(line):
                continue
            if not (ended := self._end.fullmatch(line)):
                return 0
            fields += 1 + self._count(ended[1])
            if ended[2] is None:
                return number + 1 if self._fields in {None, fields} else 0
            if self._fields is not None and fields >= self._fields:
                return 0
        return 0

    def _count(self, fields: bytes) -> int:
        """Count whole fields, each with a separator before or after it."""
        return self._quoted.sub(b"", fields).count(self._separator)
