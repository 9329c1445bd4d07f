"""The log of one process's own requests, for while Redis cannot be asked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from time import monotonic

from providers.base import Caller
from providers.rate_limit.request_log import SECOND, SLOWED_BY, STOPPED_BY, State, Use
from providers.rate_limit.shares import PIECE, Window, judged, pace


class OwnLog:
    """The log of one process: what tests use, and what is left when Redis is away.

    `clock` tells seconds that never go back.
    """

    def __init__(self, windows: Sequence[Window], clock: Callable[[], float] = monotonic) -> None:
        self._windows = judged(windows)
        self._pace = pace(windows)
        self._clock = clock
        self._longest = max(window.seconds for window in self._windows) * SECOND
        self._all: list[int] = []  # send times, the newest last
        self._sent: dict[Caller, list[int]] = {caller: [] for caller in Caller}
        self._paused_until = dict.fromkeys(Caller, 0)
        self._lock = Lock()

    def ask(self, caller: Caller) -> float:
        with self._lock:
            now = self._now()
            wait = max(self._free_at(caller, now) - now, 0)
            if not wait:
                for times in (self._all, self._sent[caller]):
                    times.append(now)
                    _forget(times, now - self._longest)
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
        """The moment from which the caller may send, if nobody else does before."""
        slowed_until = max((self._paused_until[pause] for pause in SLOWED_BY[caller]), default=0)
        moments = [self._paused_until[pause] for pause in STOPPED_BY[caller]]
        for window in self._windows:
            moments.append(self._room_at(window, caller, now))
            moments.append(self._below_ceiling_at(window, caller, slowed_until))
        if caller is Caller.RECONCILE:
            moments.append(_leaves(self._sent[caller], self._pace, PIECE))
        return max(moments)

    def _room_at(self, window: Window, caller: Caller, now: int) -> int:
        used = self._used(window, now)
        floors = {other: 0 if other is caller else window.floor(other) for other in Caller}
        if sum(max(used[other], floors[other]) for other in Caller) < window.requests:
            return 0
        # What others sent within their floors makes no room by leaving: it is kept for them again.
        above = [other for other in Caller if used[other] > floors[other]]
        return min(_leaves(self._sent[other], used[other], window.seconds) for other in above)

    def _below_ceiling_at(self, window: Window, caller: Caller, slowed_until: int) -> int:
        if not (ceiling := window.ceiling(caller)):
            return 0
        below_ceiling_at = max(_leaves(self._all, ceiling, window.seconds), slowed_until)
        return min(below_ceiling_at, _leaves(self._sent[caller], window.floor(caller), window.seconds))

    def _used(self, window: Window, now: int) -> Mapping[Caller, int]:
        since = now - window.seconds * SECOND
        return {caller: len(times) - bisect_right(times, since) for caller, times in self._sent.items()}

    def _now(self) -> int:
        return round(self._clock() * SECOND)


def _leaves(times: Sequence[int], nth_newest: int, seconds: int) -> int:
    """The moment at which this request leaves a window of so many seconds; 0 where there is none."""
    return times[-nth_newest] + seconds * SECOND if 0 < nth_newest <= len(times) else 0


def _forget(times: list[int], until: int) -> None:
    """Drop what is older, once it is the half: each drop moves what stays."""
    old = bisect_right(times, until)
    if old * 2 > len(times):
        del times[:old]
