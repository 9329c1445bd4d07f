"""Log refused requests at a bounded rate, because anybody can send any number of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

_QUIET_SECONDS: Final = 60.0


class RefusalLog:
    """Logs the first refusal of each reason, then at most one line a minute per reason. Thread-safe."""

    def __init__(self, message: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`message` is the log message; `clock` returns monotonic seconds."""
        self._message = message
        self._clock = clock
        self._lock = threading.Lock()
        self._quiet_until: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def note(self, reason: str) -> None:
        """Count a refusal, and log the count since the last line if another line is due."""
        now = self._clock()
        with self._lock:
            count = self._counts.get(reason, 0) + 1
            is_due = now >= self._quiet_until.get(reason, now)
            self._counts[reason] = 0 if is_due else count
            if is_due:
                self._quiet_until[reason] = now + _QUIET_SECONDS
        if is_due:
            log.warning(self._message, extra={"reason": reason, "count": count})
