"""The log of one process's own requests, used while Redis cannot be asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic
from typing import Final

from providers.base import Priority
from providers.rate_limit.shares import FLOORS, RECONCILE_CEILING, Window

# The percentage of a window that all callers together may have used when one of this kind sends.
_CEILINGS: Final = {
    Priority.INTERACTIVE: 100,
    Priority.WEBHOOK: 100 - FLOORS[Priority.INTERACTIVE],
    Priority.RECONCILE: RECONCILE_CEILING,
}


class LocalLog:
    """A plain sliding window per process: no window is exceeded, and a pause stops the caller and the less
    urgent ones.

    The top of each window is left to the more urgent callers, so the timer cannot starve webhooks, nor
    either of them people; a window of a few requests is too small for that. Unlike `RedisLog`, this log
    does not count other processes' requests, has no floors (busy webhooks may stop the timer) and does not
    spread the timer's requests. `clock` gives seconds and never goes back.
    """

    def __init__(self, windows: Sequence[Window], clock: Callable[[], float] = monotonic) -> None:
        self._windows = windows
        self._clock = clock
        self._sent: deque[float] = deque(maxlen=max(window.requests for window in windows))
        self._paused_until = dict.fromkeys(Priority, 0.0)
        self._lock = Lock()

    def reserve(self, priority: Priority) -> float:
        with self._lock:
            now = self._clock()
            wait = max(self._free_at(priority) - now, 0.0)
            if not wait:
                self._sent.append(now)
            return wait

    def pause(self, priority: Priority, seconds: float) -> None:
        callers = list(Priority)
        with self._lock:
            until = self._clock() + seconds
            for each in callers[callers.index(priority) :]:
                self._paused_until[each] = max(self._paused_until[each], until)

    def _free_at(self, priority: Priority) -> float:
        """The moment from which the caller may send, if nobody else does before."""
        return max(
            self._paused_until[priority], *(self._room_at(window, priority) for window in self._windows)
        )

    def _room_at(self, window: Window, priority: Priority) -> float:
        ceiling = max(window.requests * _CEILINGS[priority] // 100, 1)
        return self._sent[-ceiling] + window.seconds if len(self._sent) >= ceiling else 0.0
