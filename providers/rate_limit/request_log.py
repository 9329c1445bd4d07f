"""The request log: a request is recorded before it is sent, in Redis for all processes or in one process.

The log of all processes (`redis_log`) works in whole microseconds. A request may be sent if, in every window,

* there is room: the requests sent by all callers are fewer than the limit, where every other caller counts
  with its floor at least;
* for the timer: it is below its pace, and below its ceiling or its floor.

A caller that has not used up its floor is therefore never refused because of the others, and a refused
caller learns when it may send if nobody else does. The log of one process (`local_log`) is simpler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from providers.base import Priority
from providers.rate_limit.shares import Window

SECOND = 1_000_000
"""In microseconds, as all times of the shared log are."""

# Which pauses stop a caller: its own and those of higher priorities. The timer's own pause only slows it
# down to its floor, because it is paused whenever the provider reports few remaining requests, which may be
# always.
STOPPED_BY = {
    Priority.INTERACTIVE: (Priority.INTERACTIVE,),
    Priority.WEBHOOK: (Priority.INTERACTIVE, Priority.WEBHOOK),
    Priority.RECONCILE: (Priority.INTERACTIVE, Priority.WEBHOOK),
}
SLOWED_BY = {Priority.INTERACTIVE: (), Priority.WEBHOOK: (), Priority.RECONCILE: (Priority.RECONCILE,)}


@dataclass(frozen=True, slots=True)
class Use:
    """The current use of one window: the number of requests sent, by caller."""

    window: Window
    by_priority: Mapping[Priority, int]

    @property
    def total(self) -> int:
        return sum(self.by_priority.values())

    @property
    def kept_free(self) -> Mapping[Priority, int]:
        """The unused part of each caller's floor, which other callers cannot use."""
        return {
            priority: max(self.window.floor(priority) - used, 0)
            for priority, used in self.by_priority.items()
        }


@dataclass(frozen=True, slots=True)
class State:
    """What the log of all processes holds now; `pauses` has the seconds left of every pause that lasts."""

    uses: Sequence[Use]
    pauses: Mapping[Priority, float]


class RequestLog(Protocol):
    """A log of requests that decides whether another one may be sent."""

    def reserve(self, priority: Priority) -> float:
        """Record a request and return 0 if it may be sent now. Otherwise return the seconds to wait."""
        ...

    def pause(self, priority: Priority, seconds: float) -> None:
        """Nothing for this caller, nor for those after it, until the seconds are over.

        In the log of all processes a pause of `RECONCILE` alone leaves it its floor.
        """
        ...
