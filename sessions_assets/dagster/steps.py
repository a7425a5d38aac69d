"""What every step of a run has in common: its progress in the run's log, its seconds, a refusal as one sentence.

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


class _ToTheRun(logging.Handler):
    def __init__(self, log: dg.DagsterLogManager) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on."""
        self._log.log(record.levelno, record.getMessage())


@contextmanager
def step(log: dg.DagsterLogManager) -> Iterator[Callable[[], float]]:
    """Show the progress of a step in the log of its run, and an expected refusal as its one sentence.

    Yields the seconds since it began. A refusal would be met by a repeat too, so it is not retried.
    """
    started = time.monotonic()
    handler = _ToTheRun(log)
    LOGGER.setLevel(logging.INFO)
    LOGGER.addHandler(handler)
    try:
        yield lambda: round(time.monotonic() - started, 1)
    except (ClosedDayError, DeliveryError, JarsError, LakeError, StorageError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    finally:
        LOGGER.removeHandler(handler)
