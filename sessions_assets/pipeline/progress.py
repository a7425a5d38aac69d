"""What a run says while it works: one line a phase, with its rows and seconds.

Must not know who listens.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOGGER = logging.getLogger("sessions_assets")


@contextmanager
def phase(name: str) -> Iterator[Callable[[str], None]]:
    """Say how long a phase took, once it has ended; what is passed to the yielded function stands beside it."""
    words: list[str] = []
    started = time.monotonic()
    yield words.append
    LOGGER.info("%s: %s (%.1f s)", name, ", ".join(words) or "done", time.monotonic() - started)
