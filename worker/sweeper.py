"""The sweeper process: sweeps at a fixed interval, with or without a broker."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from models import row_count, scheduled_job
from worker.sweep import Sweep

log = logging.getLogger(__name__)

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run(sweep: Sweep, every: float) -> None:
    """Sweep every `every` seconds until SIGTERM or SIGINT. Database errors are logged, and the next sweep
    retries.
    """
    stopped = threading.Event()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    while not stopped.wait(every):
        try:
            sweep.once()
            if _is_first_of_the_minute(sweep):
                with sweep.runtime.sessions.begin() as session:
                    row_count.count_accounts(session)
        except SQLAlchemyError as error:
            log.warning("sweep failed", extra={"error": type(error).__name__})


def _is_first_of_the_minute(sweep: Sweep) -> bool:
    """Record the heartbeat. True for the first sweeper in each minute."""
    with sweep.runtime.sessions.begin() as session:
        return scheduled_job.start_if_due(session, scheduled_job.SWEEPER, scheduled_job.EVERY_HEARTBEAT)
