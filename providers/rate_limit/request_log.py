"""Where requests are written down before they are sent: in Redis for all processes, or in one of them.

The log of all processes (`redis_log`) follows one rule, in whole microseconds. A request may be sent when, in
every window,

* there is room: everybody's requests count, and every other caller with its floor at least;
* the timer keeps below its ceiling and its pace, except that the ceiling leaves it its floor.

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

# Who is stopped by whose pause: a caller's own, and those of the more urgent. The timer is paused whenever
# the provider has little left, which may be always; so its own pause leaves it its floor.
STOPPED_BY = {
    Caller.INTERACTIVE: (Caller.INTERACTIVE,),
    Caller.WEBHOOK: (Caller.INTERACTIVE, Caller.WEBHOOK),
    Caller.RECONCILE: (Caller.INTERACTIVE, Caller.WEBHOOK),
}
SLOWED_BY = {Caller.INTERACTIVE: (), Caller.WEBHOOK: (), Caller.RECONCILE: (Caller.RECONCILE,)}


@dataclass(frozen=True, slots=True)
class Use:
    """One window now: how many of its requests each caller has sent."""

    window: Window
    by_caller: Mapping[Caller, int]

    @property
    def total(self) -> int:
        return sum(self.by_caller.values())

    @property
    def kept_free(self) -> Mapping[Caller, int]:
        """What is left of each caller's floor; the others leave it alone."""
        return {caller: max(self.window.floor(caller) - used, 0) for caller, used in self.by_caller.items()}


@dataclass(frozen=True, slots=True)
class State:
    """What the log of all processes holds now; `pauses` has the seconds left of every pause that lasts."""

    uses: Sequence[Use]
    pauses: Mapping[Caller, float]


class RequestLog(Protocol):
    """Where requests are written down before they are sent."""

    def ask(self, caller: Caller) -> float:
        """0 when the request may be sent (it is then written down), else the seconds to wait."""
        ...

    def pause(self, caller: Caller, seconds: float) -> None:
        """Nothing for this caller, nor for those after it, until the seconds are over.

        In the log of all processes a pause of `RECONCILE` alone leaves it its floor.
        """
        ...
