"""Wait until a condition is true; fail after a generous time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, Final, Self

from sqlalchemy import text
from sqlalchemy.orm import Session

# Far more than anything takes, also on a busy machine. What must be quick is asserted by its own bound.
PATIENCE_SECONDS: Final = 120.0

_SHORTEST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5

_ADDITIONS: Final = 200_000
_REFERENCE_SECONDS: Final = 0.012  # for so many, on the quiet machine that the promised bounds are meant for
_MEASURED_EVERY: Final = 1.0


def wait_until(
    holds: Callable[[], Any],
    what: str = "it happens",
    log: Callable[[], str] = str,
    *,
    seconds: float = PATIENCE_SECONDS,
) -> float:
    """Seconds until it holds; a failure names it and shows the log.

    The bound is in `seconds` of a quiet machine, see `Bound`. Asking takes time from what is waited for, so
    it happens less often the longer the wait has been.
    """
    start, bound = monotonic(), Bound(seconds)
    while not holds():
        passed = monotonic() - start
        if bound.is_over():
            raise AssertionError(f"after {passed:.1f} s (bound: {seconds} s) still not: {what}\n{log()}")
        sleep(min(max(_SHORTEST_PAUSE, passed / 20), _LONGEST_PAUSE))
    return monotonic() - start


def somebody_waits_for_a_lock(session: Session) -> bool:
    """Whether another transaction in the database of this session does."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    # Without this, a transaction would see the snapshot of its first read again.
    session.execute(text("SELECT pg_stat_clear_snapshot()"))
    return bool(session.scalar(text(waiting)))


def slowdown() -> float:
    """How many times slower than a quiet machine of the usual speed this one is at the moment, at least 1."""
    began, total = monotonic(), 0
    for number in range(_ADDITIONS):
        total += number
    return max((monotonic() - began) / _REFERENCE_SECONDS, 1.0)


class Bound:
    """A promised number of seconds, which begins now and counts as a quiet machine would.

    Beside other work everything takes longer. So the machine is measured about every second, and where it is
    twice as slow only half of that second counts.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._counted_until = monotonic()

    def is_over(self) -> bool:
        passed = monotonic() - self._counted_until
        if passed < min(self._left, _MEASURED_EVERY):
            return False
        self._left -= passed / slowdown()
        self._counted_until += passed
        return self._left <= 0


class Pace:
    """Measures the machine once a second for as long as a block of code runs, from a thread.

    For bounds on what others have timed meanwhile, such as the latency of an answer.
    """

    def __init__(self) -> None:
        self._slowest = 1.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._measure)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def allows(self, seconds: float) -> float:
        """What a promised bound came to at the machine's slowest moment in the block."""
        return seconds * self._slowest

    def _measure(self) -> None:
        self._slowest = slowdown()
        while not self._is_over.wait(_MEASURED_EVERY):
            self._slowest = max(self._slowest, slowdown())
