"""The request log: requests are recorded before they are sent, in Redis for all processes or in a single
process.

The log of all processes (`redis_log`) follows one rule, in whole microseconds. A request may be sent when, in
every window,

* there is room: the sum, over all callers, of the requests sent, where each other caller counts with at
least its
  floor, is below the window's limit;
* the timer is below its pace, and below its ceiling or its floor.

So whoever has not used up a floor is never refused for what others sent, and a caller that is refused
learns the moment at which it would be let through if nobody else asked. The log of one process (`local_log`)
is simpler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from providers.base import Caller
from providers.rate_limit.shares import Window

SECOND = 1_000_000
"""In microseconds, as all times of the shared log are."""

# Which pauses stop a caller: its own and those of higher priorities. The timer's own pause only slows it
# down to its floor, because it is paused whenever the provider reports few remaining requests, which may be
# always.
STOPPED_BY = {
    Caller.INTERACTIVE: (Caller.INTERACTIVE,),
    Caller.WEBHOOK: (Caller.INTERACTIVE, Caller.WEBHOOK),
    Caller.RECONCILE: (Caller.INTERACTIVE, Caller.WEBHOOK),
}
SLOWED_BY = {Caller.INTERACTIVE: (), Caller.WEBHOOK: (), Caller.RECONCILE: (Caller.RECONCILE,)}


@dataclass(frozen=True, slots=True)
class Use:
    """The current use of one window: the number of requests sent, by caller."""

    window: Window
    by_caller: Mapping[Caller, int]

    @property
    def total(self) -> int:
        return sum(self.by_caller.values())

    @property
    def kept_free(self) -> Mapping[Caller, int]:
        """The unused part of each caller's floor, which other callers cannot use."""
        return {caller: max(self.window.floor(caller) - used, 0) for caller, used in self.by_caller.items()}


@dataclass(frozen=True, slots=True)
class State:
    """What the log of all processes holds now; `pauses` has the seconds left of every pause that lasts."""

    uses: Sequence[Use]
    pauses: Mapping[Caller, float]


class RequestLog(Protocol):
    """A log of requests that decides whether another one may be sent."""

    def reserve(self, caller: Caller) -> float:
        """Record a request and return 0 if it may be sent now. Otherwise return the seconds to wait."""
        ...

    def pause(self, caller: Caller, seconds: float) -> None:
        """Nothing for this caller, nor for those after it, until the seconds are over.

        In the log of all processes a pause of `RECONCILE` alone leaves it its floor.
        """
        ...
