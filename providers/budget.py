"""One request budget for all processes, with a reserve for people who wait.

The log of recent requests lives in Redis, and one script asks and writes in one step, on Redis' own clock.
`limits` reads the rate's text; its Redis storage is not used, because it checks one window per call (a
request that the minute refuses has already cost the second a place), has no reserve, and trusts the clock
of each machine (seen with limits 5.8 and redis-py 8.1).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from time import monotonic, sleep
from typing import Protocol, TypeVar, cast

from limits import parse_many
from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from providers.base import Caller
from seats.errors import BudgetSpent, SettingsError

log = logging.getLogger(__name__)

T = TypeVar("T")

# Dodo documentation, API introduction (2026), default tier.
DEFAULT_RATE = "40/second;240/minute"

_LONGEST_PAUSE = 60.0  # seconds; the longest window documented, and a bound for a header misread
_PAUSE_WITHOUT_WORD = 2.0  # after a 429 that does not say how long
_PAUSE_WHEN_LOW = 1.0  # after a low remainder that does not say until when
_REDIS_REST = 5.0  # seconds without Redis after it failed: only one call in this time pays its timeout
_SHARERS = 8  # processes that stay within the rate together while each counts for itself


# The part of every window, in percent, that a caller leaves to the more urgent ones.
_RESERVED = {Caller.INTERACTIVE: 0, Caller.WEBHOOK: 10, Caller.RECONCILE: 40}
# A pause for one caller also holds back those after it.
_PAUSES_OVER = {caller: tuple(Caller)[: rank + 1] for rank, caller in enumerate(Caller)}


@dataclass(frozen=True, slots=True)
class Window:
    """At most so many requests in so many seconds, wherever the seconds begin."""

    requests: int
    seconds: int

    def open_to(self, caller: Caller) -> int:
        """How many of the requests there may be for this caller to send one more; never none at all."""
        return max(1, self.requests * (100 - _RESERVED[caller]) // 100)


def parse_rate(text: str) -> tuple[Window, ...]:
    """`40/second;240/minute` as windows; raises `SettingsError`."""
    try:
        windows = tuple(Window(item.amount, item.get_expiry()) for item in parse_many(text))
    except ValueError:
        windows = ()
    if not windows or any(window.requests < 1 for window in windows):
        raise SettingsError(f"{text!r} is not a request rate such as {DEFAULT_RATE!r}.")
    return windows


class RequestLog(Protocol):
    """Where requests are written down before they are sent."""

    def ask(self, caller: Caller) -> float:
        """0 when the request may be sent (it is then written down), else the seconds to wait."""
        ...

    def pause(self, caller: Caller, seconds: float) -> None:
        """Nothing for this caller, nor for those after it, until the seconds are over."""
        ...


class OwnLog:
    """The log of one process: what tests use, and what is left when Redis is away."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = tuple(windows)
        self._sent = deque[float](maxlen=max(window.requests for window in windows))
        self._paused_until = dict.fromkeys(Caller, 0.0)
        self._lock = Lock()

    def ask(self, caller: Caller) -> float:
        with self._lock:
            now = monotonic()
            free_at = max(self._paused_until[pause] for pause in _PAUSES_OVER[caller])
            for window in self._windows:
                allowed = window.open_to(caller)
                if len(self._sent) >= allowed:
                    free_at = max(free_at, self._sent[-allowed] + window.seconds)
            if free_at <= now:
                self._sent.append(now)
            return max(free_at - now, 0.0)

    def pause(self, caller: Caller, seconds: float) -> None:
        with self._lock:
            self._paused_until[caller] = max(self._paused_until[caller], monotonic() + seconds)


class SharedLog:
    """The log of all processes. Raises `RedisError` when Redis is away, within one socket timeout."""

    # One list of send times, newest first, serves every window: entry N of it tells whether N requests
    # fit. Times in the future mean that Redis' clock was set back; the list would block until it catches
    # up, so it is dropped. Numbers stay below 2^53, where Lua counts exactly.
    _ASK = """
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local newest = redis.call('LINDEX', KEYS[1], 0)
    if newest and tonumber(newest) > now then redis.call('DEL', KEYS[1]) end
    local wait = 0
    for i = 2, #KEYS do
        wait = math.max(wait, redis.call('PTTL', KEYS[i]) * 1000)
    end
    for i = 3, #ARGV, 2 do
        local entry = redis.call('LINDEX', KEYS[1], ARGV[i] - 1)
        if entry then wait = math.max(wait, entry + ARGV[i + 1] * 1000000 - now) end
    end
    if wait > 0 then return wait end
    redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
    redis.call('LTRIM', KEYS[1], 0, ARGV[1] - 1)
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return 0
    """

    # A shorter pause never cuts a longer one short.
    _PAUSE = """
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
        redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
    end
    """

    def __init__(self, client: Redis, windows: Sequence[Window], name: str) -> None:
        client = _without_retries(client)
        # The braces keep the keys of one script on one node of a cluster.
        self._pauses = {caller: f"seatsync:budget:{{{name}}}:pause:{caller}" for caller in Caller}
        self._keys = {
            caller: [f"seatsync:budget:{{{name}}}:sent", *(self._pauses[pause] for pause in over)]
            for caller, over in _PAUSES_OVER.items()
        }
        longest = [max(window.requests for window in windows), max(window.seconds for window in windows)]
        self._arguments = {
            caller: longest
            + [part for window in windows for part in (window.open_to(caller), window.seconds)]
            for caller in Caller
        }
        self._ask = client.register_script(self._ASK)
        self._pause = client.register_script(self._PAUSE)

    def ask(self, caller: Caller) -> float:
        microseconds = self._ask(self._keys[caller], self._arguments[caller])
        return cast("int", microseconds) / 1_000_000

    def pause(self, caller: Caller, seconds: float) -> None:
        self._pause([self._pauses[caller]], [max(1, round(seconds * 1000))])


class Budget:
    """Asks before every request and listens to every answer.

    Without a Redis client one process has the whole rate to itself. While Redis is away, every process
    counts for itself and takes an eighth of the rate. Redis errors are never raised; a Redis that does not
    answer costs one socket timeout of the client, once in five seconds.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        client: Redis | None = None,
        *,
        name: str = "provider",
        patience: float = 1.0,
    ) -> None:
        self._shared = SharedLog(client, windows, name) if client is not None else None
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

        Which of its windows the provider means is not documented, so only the proportion is used. Without
        a limit, only nothing left is little.
        """
        for caller, percent in _RESERVED.items():
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
            except RedisError as error:
                self._shared_again_at = monotonic() + _REDIS_REST
                log.warning(
                    "The request budget is not shared: no Redis", extra={"error": type(error).__name__}
                )
        return use(self._own)


def _without_retries(client: Redis) -> Redis:
    """The same server, but one try: redis-py's default sleeps through ten (3.5 s with Redis refusing)."""
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "retry": Retry(NoBackoff(), 0)}
    return Redis(
        connection_pool=ConnectionPool(
            connection_class=pool.connection_class, max_connections=pool.max_connections, **options
        )
    )
