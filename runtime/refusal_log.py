"""Refused requests in the log: anybody can send them, so their number must not set the number of lines."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

_QUIET_SECONDS: Final = 60.0


class RefusalLog:
    """Writes a line for the first refusal of each reason, then one a minute at most. Threads may share it."""

    def __init__(self, message: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`message` is the line's; `clock` counts seconds from any moment."""
        self._message = message
        self._clock = clock
        self._lock = threading.Lock()
        self._quiet_until: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def note(self, reason: str) -> None:
        """Count a refusal. The line, if one is due, says how many there were since the last."""
        now = self._clock()
        with self._lock:
            count = self._counts.get(reason, 0) + 1
            is_due = now >= self._quiet_until.get(reason, now)
            self._counts[reason] = 0 if is_due else count
            if is_due:
                self._quiet_until[reason] = now + _QUIET_SECONDS
        if is_due:
            log.warning(self._message, extra={"reason": reason, "count": count})
