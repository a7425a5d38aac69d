"""Progress of a run: one log line a phase, with its rows and seconds.

Must not know who reads the log.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("sessions_assets")


@contextmanager
def phase(name: str) -> Iterator[Callable[[str], None]]:
    """Log how long a phase took, once it has ended, with the texts passed to the yielded function."""
    words: list[str] = []
    started = time.monotonic()
    yield words.append
    LOGGER.info("%s: %s (%.1f s)", name, ", ".join(words) or "done", time.monotonic() - started)
