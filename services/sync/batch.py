"""Sync a batch of due subscriptions, one after another, for a bounded time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from runtime.wiring import Runtime
from services.sync.subscription import SyncOutcome, sync

log = logging.getLogger(__name__)

# One more retrieve after this still ends within the soft time limit of a task.
_DRAIN_SECONDS: Final = 8.0


def drain(runtime: Runtime, due: Sequence[str], *, seconds: float | None = None) -> int:
    """Sync these subscriptions in this process; return how many were tried.

    Stops after `seconds` (8 by default), or when the request budget is spent. The rest stay due.
    """
    until = time.monotonic() + (_DRAIN_SECONDS if seconds is None else seconds)
    tried = 0
    for subscription_id in due:
        if time.monotonic() >= until:
            break
        with log_failure("sync failed", subscription_id=subscription_id):
            tried += 1
            if sync(runtime, subscription_id) is SyncOutcome.BUDGET_SPENT:
                break  # it is the same budget for the rest
    return tried


@contextmanager
def log_failure(message: str, **extra: str) -> Iterator[None]:
    """Log an error instead of raising it, so that a failure does not stop the work on other rows."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
        log.error(message, extra={**extra, "error": type(error).__name__})  # noqa: TRY400
