"""Gzip files that end in zero bytes, as tapes and some copies leave them: their lines, which Spark's own codec refuses.

Plain Python on bytes. Must not know Spark, and must not import anything of this package: Spark's workers receive it by
value and need not have the package installed.
"""

import gzip
import re
from io import SEEK_END
from typing import IO

# What a gzip file ends with, in bytes.
_LENGTH_AND_CHECKSUM = 8
_NO_DATA = (b"\x03\x00", b"\xff\xff")
_PART = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_padded(stream: IO[bytes]) -> bool:
    """Return whether zero bytes follow the data of a gzip file; such a file is read whole.

    Raises:
        OSError, EOFError, zlib.error: it is padded, and its data is damaged.
    """
    stream.seek(-_LENGTH_AND_CHECKSUM - 2, SEEK_END)
    end = stream.read()
    # Of no data both are zero, after what says that there is none.
    if any(end[2:]) or end.startswith(_NO_DATA):
        return False
    stream.seek(0)
    with gzip.GzipFile(fileobj=stream) as data:
        while data.read(_PART):
            pass
    return True


def lines(content: bytes, ends: str) -> list[bytes]:
    """Return the lines of a padded file, without their ends: a pattern. Spark omits the mark before the first, too."""
    return re.split(ends.encode(), gzip.decompress(content).removeprefix(_BYTE_ORDER_MARK))
