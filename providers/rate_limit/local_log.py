"""The request log of a single process, for use without Redis."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from time import monotonic

from providers.base import Caller
from providers.rate_limit.request_log import SECOND, SLOWED_BY, STOPPED_BY, State, Use
from providers.rate_limit.shares import PACE_SECONDS, Window, pace, with_divisible_multiples


class LocalLog:
    """The request log of a single process. `clock` returns monotonic seconds."""

    def __init__(self, windows: Sequence[Window], clock: Callable[[], float] = monotonic) -> None:
        self._windows = with_divisible_multiples(windows)
        self._pace = pace(windows)
        self._clock = clock
        self._longest = max(window.seconds for window in self._windows) * SECOND
        self._all: list[int] = []  # send times, the newest last
        self._sent: dict[Caller, list[int]] = {caller: [] for caller in Caller}
        self._paused_until = dict.fromkeys(Caller, 0)
        self._lock = Lock()

    def reserve(self, caller: Caller) -> float:
        with self._lock:
            now = self._now()
            wait = max(self._free_at(caller, now) - now, 0)
            if not wait:
                for times in (self._all, self._sent[caller]):
                    times.append(now)
                    _drop_old(times, now - self._longest)
            return wait / SECOND

    def pause(self, caller: Caller, seconds: float) -> None:
        with self._lock:
            until = self._now() + round(seconds * SECOND)
            self._paused_until[caller] = max(self._paused_until[caller], until)

    def state(self) -> State:
        with self._lock:
            now = self._now()
            uses = [Use(window, self._used(window, now)) for window in self._windows]
            pauses = {caller: until - now for caller, until in self._paused_until.items() if until > now}
        return State(uses, {caller: left / SECOND for caller, left in pauses.items()})

    def _free_at(self, caller: Caller, now: int) -> int:
        """When the caller may send, if no one else sends before."""
        slowed_until = max((self._paused_until[pause] for pause in SLOWED_BY[caller]), default=0)
        moments = [self._paused_until[pause] for pause in STOPPED_BY[caller]]
        for window in self._windows:
            moments.append(self._room_at(window, caller, now))
            moments.append(self._below_ceiling_at(window, caller, slowed_until))
        if caller is Caller.RECONCILE:
            moments.append(_leaves_at(self._sent[caller], self._pace, PACE_SECONDS))
        return max(moments)

    def _room_at(self, window: Window, caller: Caller, now: int) -> int:
        used = self._used(window, now)
        floors = {other: 0 if other is caller else window.floor(other) for other in Caller}
        if sum(max(used[other], floors[other]) for other in Caller) < window.requests:
            return 0
        # Only requests above a floor make room when they leave the window. The others are kept for their
        # caller.
        above_floor = [other for other in Caller if used[other] > floors[other]]
        return min(_leaves_at(self._sent[other], used[other], window.seconds) for other in above_floor)

    def _below_ceiling_at(self, window: Window, caller: Caller, slowed_until: int) -> int:
        if not (ceiling := window.ceiling(caller)):
            return 0
        below_ceiling_at = max(_leaves_at(self._all, ceiling, window.seconds), slowed_until)
        return min(below_ceiling_at, _leaves_at(self._sent[caller], window.floor(caller), window.seconds))

    def _used(self, window: Window, now: int) -> Mapping[Caller, int]:
        since = now - window.seconds * SECOND
        return {caller: len(times) - bisect_right(times, since) for caller, times in self._sent.items()}

    def _now(self) -> int:
        return round(self._clock() * SECOND)


def _leaves_at(times: Sequence[int], nth_newest: int, seconds: int) -> int:
    """When the nth newest request leaves a window of that many seconds; 0 if there is no such request."""
    return times[-nth_newest] + seconds * SECOND if 0 < nth_newest <= len(times) else 0


def _drop_old(times: list[int], until: int) -> None:
    """Delete times up to `until` once they are more than half, since each deletion moves the others."""
    old = bisect_right(times, until)
    if old * 2 > len(times):
        del times[:old]
