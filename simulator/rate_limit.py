"""Rate limits per caller, with any number of windows (by default per second and per minute)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Window = tuple[int, float]


@dataclass(slots=True)
class Count:
    """One caller's use of one window."""

    started: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """The state of the window with the fewest requests left, after a request."""

    is_admitted: bool
    limit: int
    remaining: int
    reset_in: float


class RateLimiter:
    """Counts requests in fixed windows, which start with a caller's first request. Refused ones do not
    count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, Window], Count] = {}

    def admit(self, caller: str, windows: Sequence[Window]) -> Allowance | None:
        """Count the request if every window has room for it. Returns None if there are no windows."""
        if not windows:
            return None
        with self._lock:
            now = self._clock()
            counts = [(window, self._count(caller, window, now)) for window in windows]
            is_admitted = all(count.used < window[0] for window, count in counts)
            for _, count in counts:
                count.used += is_admitted
            (limit, seconds), tightest = min(counts, key=lambda pair: pair[0][0] - pair[1].used)
            reset_in = max(tightest.started + seconds - now, 0.0)
            return Allowance(is_admitted, limit, limit - tightest.used, reset_in)

    def forget(self) -> None:
        with self._lock:
            self._counts.clear()

    def _count(self, caller: str, window: Window, now: float) -> Count:
        count = self._counts.get((caller, window))
        if count is None or now >= count.started + window[1]:
            count = self._counts[caller, window] = Count(now)
        return count


def headers(allowance: Allowance, reset_as: str) -> dict[str, str]:
    """The rate-limit headers. Whether the provider's reset is a duration or a time is not documented, so
    `reset_as` selects either (`seconds` or `unix`).
    """
    start = time.time() if reset_as == "unix" else 0.0
    return {
        "X-RateLimit-Limit": str(allowance.limit),
        "X-RateLimit-Remaining": str(allowance.remaining),
        "X-RateLimit-Reset": str(math.ceil(start + allowance.reset_in)),
    }
