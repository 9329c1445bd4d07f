"""Waiting for what must come: it ends as soon as it has, and fails only where it never does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

# Far more than anything takes, also on a busy machine. What must be quick is asserted by its own bound.
PATIENCE_SECONDS: Final = 120.0

_ADDITIONS: Final = 2_000_000
_REFERENCE_SECONDS: Final = 0.12  # for so many, on the quiet machine that the promised bounds are meant for
_MOST: Final = 3.0


def wait_until(
    holds: Callable[[], Any],
    what: str = "it happens",
    log: Callable[[], str] = str,
    *,
    seconds: float = PATIENCE_SECONDS,
) -> float:
    """Seconds until it holds; a failure names it and shows the log."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"after {seconds} s still not: {what}\n{log()}")
        time.sleep(0.02)
    return time.monotonic() - start


def somebody_waits_for_a_lock(session: Session) -> bool:
    """Whether another transaction in the database of this session does."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    session.execute(
        text("SELECT pg_stat_clear_snapshot()")
    )  # a transaction sees its first look again and again
    return bool(session.scalar(text(waiting)))


def on_this_machine(seconds: float) -> float:
    """What a promised bound comes to here and now: longer by as much as this machine is slower at the moment
    than a quiet one of the usual speed, but three times as long at most.
    """
    began, total = time.monotonic(), 0
    for number in range(_ADDITIONS):
        total += number
    return seconds * min(max((time.monotonic() - began) / _REFERENCE_SECONDS, 1.0), _MOST)
