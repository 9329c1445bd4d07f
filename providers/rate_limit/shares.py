"""How the request budget is divided: a guaranteed floor per caller, a ceiling and a pace for the timer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from providers.base import Priority

# The percentage of every window that is kept for a caller while it does not use it. The rest goes to the
# call that comes first. With the default of 40 requests a second and 240 a minute, these are
# - 4 and 24 for interactive calls: few at a time, one sync each;
# - 8 and 48 for webhooks: bursts of one sync per subscription;
# - 2 and 12 for the timer: 17,280 a day, enough to read the list (100 subscriptions per request) and to sync
#   10,000 subscriptions a day, however busy the others are.
FLOORS = {Priority.INTERACTIVE: 10, Priority.WEBHOOK: 20, Priority.RECONCILE: 5}

# The timer may exceed its floor only while less than this percentage of the window is used, by all callers
# together. This leaves room for bursts of the others.
RECONCILE_CEILING = 60

# The timer's requests in a longer window are spread evenly over intervals of this length. Others may burst.
PACE_SECONDS = 5

# The smallest window in which every floor is at least one request.
_DIVISIBLE = math.ceil(100 / min(FLOORS.values()))


@dataclass(frozen=True, slots=True)
class Window:
    """A rate limit: at most `requests` in any period of `seconds`."""

    requests: int
    seconds: int

    def floor(self, priority: Priority) -> int:
        """The number of requests kept for this caller."""
        return self.requests * FLOORS[priority] // 100

    def ceiling(self, priority: Priority) -> int:
        """The number of requests of all callers from which on this caller may not exceed its floor; 0 for no
        ceiling.

        Only the timer has one, and only in windows where its floor is not 0; otherwise it could never send.
        """
        if priority is not Priority.RECONCILE or not self.floor(priority):
            return 0
        return self.requests * RECONCILE_CEILING // 100


def with_divisible_multiples(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The windows; after each that is too small to be divided, a multiple of it that is not.

    One request a minute cannot be divided among three callers; twenty requests in twenty minutes can.
    """
    found = []
    for window in windows:
        found.append(window)
        times = math.ceil(_DIVISIBLE / window.requests)
        if times > 1:
            found.append(Window(window.requests * times, window.seconds * times))
    return tuple(found)


def pace(windows: Iterable[Window]) -> int:
    """The number of requests that the timer may send in `PACE_SECONDS`; 0 for no limit but the windows."""
    parts = (
        math.ceil(window.requests * RECONCILE_CEILING * PACE_SECONDS / (100 * window.seconds))
        for window in windows
        if window.seconds > PACE_SECONDS
    )
    return min(parts, default=0)
