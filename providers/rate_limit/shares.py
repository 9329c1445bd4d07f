"""How the request budget is shared out: nobody above a window, nobody below a floor, the timer at a pace."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from providers.base import Caller

# The part of every window, in percent, that the others leave free while a caller does not use it. Of the
# default 40 a second and 240 a minute: 4 and 24 for people, who are few at a time and ask for one look
# each; 8 and 48 for webhooks, whose bursts are one look per subscription, while what they bring is what
# the count waits for; 2 and 12 for the timer, 17,280 a day, which is enough to walk the list (100 to a
# request) and to look at 10,000 subscriptions within a day however busy the others are. The rest is for
# whoever asks first.
FLOORS = {Caller.INTERACTIVE: 10, Caller.WEBHOOK: 20, Caller.RECONCILE: 5}

# The timer, which can wait, goes beyond its floor only while this part of the window is not used up, by
# whomever: so much is at hand for a burst of the others.
RECONCILE_CEILING = 60

# Seconds. The timer's part of a longer window is spread over pieces of this length; the others may burst.
PIECE = 5

# The smallest window in which every floor is a whole request.
_DIVISIBLE = math.ceil(100 / min(FLOORS.values()))


@dataclass(frozen=True, slots=True)
class Window:
    """At most so many requests in so many seconds, wherever the seconds begin."""

    requests: int
    seconds: int

    def floor(self, caller: Caller) -> int:
        """How many of the requests the others leave to this caller."""
        return self.requests * FLOORS[caller] // 100

    def ceiling(self, caller: Caller) -> int:
        """How many requests of all callers end what this one may send beyond its floor; 0: it has none.

        A window without a floor has none either: it would shut the caller out for good.
        """
        if caller is not Caller.RECONCILE or not self.floor(caller):
            return 0
        return self.requests * RECONCILE_CEILING // 100


def judged(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The windows, each that is too small to be shared out followed by a multiple of it that is not.

    One request a minute cannot be divided among three; twenty in twenty minutes can.
    """
    found = []
    for window in windows:
        found.append(window)
        times = math.ceil(_DIVISIBLE / window.requests)
        if times > 1:
            found.append(Window(window.requests * times, window.seconds * times))
    return tuple(found)


def pace(windows: Iterable[Window]) -> int:
    """How many requests the timer may send in one `PIECE`; 0: as many as the windows let through."""
    parts = (
        math.ceil(window.requests * RECONCILE_CEILING * PIECE / (100 * window.seconds))
        for window in windows
        if window.seconds > PIECE
    )
    return min(parts, default=0)
