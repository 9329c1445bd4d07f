"""One request budget for all processes, with a floor for everybody who asks (`providers.rate_limit.shares`).

`limits` reads the rate's text; its Redis storage is not used, because it checks one window per call (a
request that the minute refuses has already cost the second a place), has no floors, and trusts the clock
of each machine (seen with limits 5.8 and redis-py 8.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import TypeVar

from limits import parse_many
from redis import Redis, RedisError

from domain.errors import BudgetSpent, NamespaceUnknown, SettingsError
from providers.base import Caller
from providers.rate_limit.local_log import OwnLog
from providers.rate_limit.redis_log import SharedLog
from providers.rate_limit.request_log import RequestLog
from providers.rate_limit.shares import FLOORS, RECONCILE_CEILING, Window

log = logging.getLogger(__name__)

T = TypeVar("T")

# Dodo documentation, API introduction (2026), default tier.
DEFAULT_RATE = "40/second;240/minute"

_LONGEST_PAUSE = 60.0  # seconds; the longest window documented, and a bound for a header misread
_PAUSE_WITHOUT_WORD = 2.0  # after a 429 that does not say how long
_PAUSE_WHEN_LOW = 1.0  # after a low remainder that does not say until when
_REDIS_REST = 5.0  # seconds without Redis after it failed: only one call in this time pays its timeout
_SHARERS = 8  # processes that stay within the rate together while each counts for itself

# Who leaves how much of what the provider says is left, in percent: what is kept for people, and what lies
# above the timer's ceiling.
_LITTLE = {Caller.WEBHOOK: FLOORS[Caller.INTERACTIVE], Caller.RECONCILE: 100 - RECONCILE_CEILING}


def parse_rate(text: str) -> tuple[Window, ...]:
    """`40/second;240/minute` as windows; raises `SettingsError`."""
    try:
        windows = tuple(Window(item.amount, item.get_expiry()) for item in parse_many(text))
    except ValueError:
        windows = ()
    if not windows or any(window.requests < 1 for window in windows):
        raise SettingsError(f"{text!r} is not a request rate such as {DEFAULT_RATE!r}.")
    return windows


class Budget:
    """Asks before every request and listens to every answer.

    Without a Redis client one process has the whole rate to itself. While Redis is away, or `prefix` cannot
    tell how the keys there begin, every process counts for itself by simpler rules (`OwnLog`) and takes an
    eighth of the rate. Redis errors are never raised; a Redis that does not answer costs one socket timeout
    of the client, once in five seconds.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        client: Redis | None = None,
        *,
        name: str = "provider",
        prefix: Callable[[], str] = lambda: "seatsync:",
        patience: float = 1.0,
    ) -> None:
        self._shared = SharedLog(client, windows, name, prefix) if client is not None else None
        shares = 1 if client is None else _SHARERS
        self._own = OwnLog([Window(max(1, w.requests // shares), w.seconds) for w in windows])
        self._shared_again_at = 0.0
        self._patience = patience

    def take(self, caller: Caller) -> None:
        """Return when one request may be sent; a short wait is waited out, a long one is `BudgetSpent`."""
        patient_until = monotonic() + self._patience
        while wait := self._with_log(lambda sent: sent.ask(caller)):
            if monotonic() + wait > patient_until:
                raise BudgetSpent(f"The request budget is spent for {caller} calls.", retry_after=wait)
            sleep(wait)

    def refused(self, retry_after: float | None) -> None:
        """The provider answered 429: nobody asks until it says so."""
        self._hold(Caller.INTERACTIVE, _PAUSE_WITHOUT_WORD if retry_after is None else retry_after)

    def told(self, *, remaining: int, limit: int | None, resets_in: float | None) -> None:
        """The provider said how much is left: who should leave that much alone waits for the reset.

        The timer keeps its floor while there is enough for webhooks: they might leave it little for ever.
        Which of its windows the provider means is not documented, so only the proportion is used. Without
        a limit, only nothing left is little.
        """
        for caller, percent in _LITTLE.items():
            if remaining * 100 < (limit or 1) * percent:
                self._hold(caller, _PAUSE_WHEN_LOW if resets_in is None else resets_in)
                return

    def _hold(self, caller: Caller, seconds: float) -> None:
        if seconds > 0:
            self._with_log(lambda sent: sent.pause(caller, min(seconds, _LONGEST_PAUSE)))

    def _with_log(self, use: Callable[[RequestLog], T]) -> T:
        """The shared log if Redis answers, else our own; a Redis that failed is left alone for a while."""
        if self._shared is not None and monotonic() >= self._shared_again_at:
            try:
                return use(self._shared)
            except (RedisError, NamespaceUnknown) as error:
                self._shared_again_at = monotonic() + _REDIS_REST
                log.warning(
                    "The request budget is not shared: no Redis", extra={"error": type(error).__name__}
                )
        return use(self._own)
