"""What every step of a run has in common: its progress in the run's log, its duration, and refusals as failures.

Must not know what a step does.
"""

import atexit
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import dagster as dg

from sessions_assets.dagster.internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from sessions_assets.lake.lake import LakeError
from sessions_assets.lake.ledger import ClosedDayError
from sessions_assets.lake.spark import JarsError
from sessions_assets.landing.batches import DeliveryError
from sessions_assets.pipeline.clock_changes import ZoneError
from sessions_assets.pipeline.land import LandingError
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

    Yields:
        A function that returns the seconds since the step began.
    """
    started = time.monotonic()
    handler = _RunLogHandler(log)
    LOGGER.setLevel(logging.INFO)
    LOGGER.addHandler(handler)
    try:
        yield lambda: round(time.monotonic() - started, 1)
    except (ClosedDayError, DeliveryError, JarsError, LakeError, StorageError, ZoneError) as error:
        raise refusal(str(error)) from error
    except LandingError as error:
        raise dg.Failure(description=str(error)) from error
    finally:
        LOGGER.removeHandler(handler)


def refusal(sentence: str, metadata: Mapping[str, dg.MetadataValue[Any]] | None = None) -> dg.Failure:
    """Return the failure of a step whose request is refused. A retry would be refused too, so there is none."""
    # Dagster's own command line shows some hundred lines after this one, and ends with "Materialization failed".
    if click.get_current_context(silent=True):
        atexit.register(click.echo, sentence, err=True)
    return dg.Failure(description=sentence, metadata=metadata, allow_retries=False)


def no_day(tags: Mapping[str, str]) -> dg.Failure:
    """Return the failure of a step whose run, by its tags, is of a range without a day."""
    first, last = tags[ASSET_PARTITION_RANGE_START_TAG], tags[ASSET_PARTITION_RANGE_END_TAG]
    return refusal(f"{first}...{last} has no day: expected the first day, then the last one")
