"""What decides the rows that a run writes, beside what was delivered: the text of the rooms that have a say in it.

Who finds it unchanged need not compute again what is stored. Must not know where it is noted, or what is stored.
"""

import hashlib
from pathlib import Path

_ROOMS = (
    "rule/events",
    "landing/layouts",
    "landing/readers",
    "rule/sessions",
    "pipeline/land",
    "lake/commits",
    "lake/lake",
    "pipeline/apply",
)
_PACKAGE = Path(__file__).parent.parent
_TEXTS = [(_PACKAGE / f"{room}.py").read_bytes() for room in _ROOMS]
# Once for the process, when its code is loaded: the files may be others later.
_MARK = hashlib.sha256(b"\0".join(_TEXTS)).hexdigest()[:16]


def code() -> str:
    """Give a mark of the code that decides which rows are stored, and how; another text, another mark."""
    return _MARK
