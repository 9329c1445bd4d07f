"""The sweeper: a small process of its own that sweeps on time, with or without a broker."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from models import scheduled_job
from worker.sweep import Sweep

log = logging.getLogger(__name__)

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def run(sweep: Sweep, every: float) -> None:
    """Sweep every so many seconds until SIGTERM or SIGINT; a database that is away is waited for."""
    ended = threading.Event()
    for number in _ENDING:
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(every):
        try:
            sweep.once()
            with sweep.runtime.sessions.begin() as session:
                scheduled_job.claim_run(session, scheduled_job.SWEEPER, scheduled_job.EVERY_HEARTBEAT)
        except SQLAlchemyError as error:
            log.warning("sweep failed", extra={"error": type(error).__name__})
