"""What every step of a run has in common: its progress in the run's log, its duration, and refusals as failures.

Must not know what a step does.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.ledger import ClosedDayError
from sessions_assets.lake.spark import JarsError
from sessions_assets.landing.batches import DeliveryError
from sessions_assets.pipeline.progress import LOGGER
from sessions_assets.storage import StorageError


class _RunLogHandler(logging.Handler):
    def __init__(self, log: dg.DagsterLogManager) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log a line of progress in the run's log."""
        self._log.log(record.levelno, record.getMessage())


@contextmanager
def step(log: dg.DagsterLogManager) -> Iterator[Callable[[], float]]:
    """Log the progress of a step in its run's log, and fail with the message alone if the request is refused.

    A retry would be refused too, so there is none.

    Yields:
        A function that returns the seconds since the step began.
    """
    started = time.monotonic()
    handler = _RunLogHandler(log)
    LOGGER.setLevel(logging.INFO)
    LOGGER.addHandler(handler)
    try:
        yield lambda: round(time.monotonic() - started, 1)
    except (ClosedDayError, DeliveryError, JarsError, LakeError, StorageError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    finally:
        LOGGER.removeHandler(handler)
