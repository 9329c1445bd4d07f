"""The request budget that all processes share, with a guaranteed share per priority
(`providers.rate_limit.shares`).

The library `limits` parses the rate. Its Redis storage is not used: it checks one window at a time (a
request that the minute rejects has already been counted in the second), has no guaranteed shares, and relies
on the clock of each machine (seen with limits 5.8 and redis-py 8.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import TypeVar

from limits import parse_many
from redis import Redis, RedisError

from domain.errors import NamespaceUnknown, SettingsError
from domain.provider_errors import BudgetSpent
from providers.base import Priority
from providers.rate_limit.local_log import LocalLog
from providers.rate_limit.redis_log import RedisLog
from providers.rate_limit.request_log import RequestLog
from providers.rate_limit.shares import FLOORS, RECONCILE_CEILING, Window

log = logging.getLogger(__name__)

T = TypeVar("T")

# Dodo documentation, API introduction (2026), default tier.
DEFAULT_RATE = "40/second;240/minute"

_LONGEST_PAUSE_SECONDS = 60.0  # the longest documented window, and a limit for misread headers
_REFUSED_PAUSE_SECONDS = 2.0  # after a 429 that does not say how long to wait
_LOW_PAUSE_SECONDS = 1.0  # after a low remainder, if the provider does not say when it is reset
# How long Redis is not used after a failure, so that only one call in this time waits for its time-out.
_REDIS_PAUSE_SECONDS = 5.0
_PROCESSES_WITHOUT_REDIS = 8  # so many processes together stay within the rate without a shared log

# The percentage of the provider's remaining requests below which each priority pauses. The rest is for the
# higher priorities.
_PAUSES_BELOW = {Priority.WEBHOOK: FLOORS[Priority.INTERACTIVE], Priority.RECONCILE: 100 - RECONCILE_CEILING}


def parse_rate(text: str) -> tuple[Window, ...]:
    """The windows of a rate such as `40/second;240/minute`. Raises `SettingsError`."""
    try:
        windows = tuple(Window(item.amount, item.get_expiry()) for item in parse_many(text))
    except ValueError:
        windows = ()
    if not windows or any(window.requests < 1 for window in windows):
        raise SettingsError(f"{text!r} is not a request rate. Use a form such as {DEFAULT_RATE!r}.")
    return windows


class Budget:
    """Grants requests to the provider, and adapts to its rate-limit responses.

    Without a Redis client one process has the whole rate to itself. While Redis is away, or `prefix` cannot
    tell how the keys there begin, every process counts for itself by simpler rules (`LocalLog`) and takes an
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
        self._shared = RedisLog(client, windows, name, prefix) if client is not None else None
        shares = 1 if client is None else _PROCESSES_WITHOUT_REDIS
        self._local = LocalLog([Window(max(1, w.requests // shares), w.seconds) for w in windows])
        self._use_shared_after = 0.0
        self._patience = patience

    def acquire(self, priority: Priority) -> None:
        """Reserve one request; returns when it may be sent. Raises `BudgetSpent` if that is too long to
        wait.
        """
        deadline = monotonic() + self._patience
        while wait := self._with_log(lambda request_log: request_log.reserve(priority)):
            if monotonic() + wait > deadline:
                raise BudgetSpent(f"The request budget is spent for {priority} calls.", retry_after=wait)
            sleep(wait)

    def note_refusal(self, retry_after: float | None) -> None:
        """Pause all requests after a 429, for `retry_after` seconds if the provider said so."""
        self._pause(Priority.INTERACTIVE, _REFUSED_PAUSE_SECONDS if retry_after is None else retry_after)

    def note_remaining(self, *, remaining: int, limit: int | None, resets_in: float | None) -> None:
        """Pause lower priorities until the reset if the provider reports few remaining requests.

        If there is enough for webhooks, only the timer pauses, and it keeps its guaranteed share; otherwise
        webhooks could starve it. Which window the provider reports is not documented, so only the ratio is
        used. Without a `limit`, only 0 remaining counts as few.
        """
        for priority, percent in _PAUSES_BELOW.items():
            if remaining * 100 < (limit or 1) * percent:
                self._pause(priority, _LOW_PAUSE_SECONDS if resets_in is None else resets_in)
                return

    def _pause(self, priority: Priority, seconds: float) -> None:
        if seconds > 0:
            self._with_log(
                lambda request_log: request_log.pause(priority, min(seconds, _LONGEST_PAUSE_SECONDS))
            )

    def _with_log(self, use: Callable[[RequestLog], T]) -> T:
        """Use the shared log, or the local one if Redis fails or failed a moment ago."""
        if self._shared is not None and monotonic() >= self._use_shared_after:
            try:
                return use(self._shared)
            except (RedisError, NamespaceUnknown) as error:
                self._use_shared_after = monotonic() + _REDIS_PAUSE_SECONDS
                log.warning("request budget not shared", extra={"error": type(error).__name__})
        return use(self._local)
