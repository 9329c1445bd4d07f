"""A batch: sync what is due, one after another, for a bounded time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from runtime.wiring import Runtime
from services.sync.subscription import SyncOutcome, sync

log = logging.getLogger(__name__)

_DRAIN_FOR: Final = 8.0  # and one retrieve more stays within a task's soft time limit


def drain(runtime: Runtime, due: Sequence[str], *, seconds: float | None = None) -> int:
    """Sync these here and now, for so many seconds and while the request budget lasts; what is left stays
    due. Returns how many were tried.
    """
    until = time.monotonic() + (_DRAIN_FOR if seconds is None else seconds)
    tried = 0
    for subscription_id in due:
        if time.monotonic() >= until:
            break
        with one_failure_stops_no_other("subscription_id", subscription_id):
            tried += 1
            if sync(runtime, subscription_id) is SyncOutcome.BUDGET_SPENT:
                break  # the others would only hear the same
    return tried


@contextmanager
def one_failure_stops_no_other(kind: str, name: str) -> Iterator[None]:
    """What fails stays due, with the log telling why; the row's own clock decides when it is next."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
        log.error("work failed", extra={kind: name, "error": type(error).__name__})  # noqa: TRY400
