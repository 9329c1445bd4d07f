"""Where requests are written down before they are sent: in Redis for all processes, or in one of them.

Both logs follow one rule, in whole microseconds. A request may be sent when, in every window,

* there is room: everybody's requests count, and every other caller with its floor at least;
* the timer keeps below its ceiling and its pace, except that the ceiling leaves it its floor.

So whoever has not used up a floor is never refused for what others sent, and a caller that is refused
learns the moment at which it would be let through if nobody else asked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import Protocol, cast

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from providers.base import Caller
from providers.shares import PIECE, Window, judged, pace

_SECOND = 1_000_000  # microseconds

# Who is stopped by whose pause: a caller's own, and those of the more urgent. The timer is paused whenever
# the provider has little left, which may be always; so its own pause leaves it its floor.
_STOPPED_BY = {
    Caller.INTERACTIVE: (Caller.INTERACTIVE,),
    Caller.WEBHOOK: (Caller.INTERACTIVE, Caller.WEBHOOK),
    Caller.RECONCILE: (Caller.INTERACTIVE, Caller.WEBHOOK),
}
_SLOWED_BY = {Caller.INTERACTIVE: (), Caller.WEBHOOK: (), Caller.RECONCILE: (Caller.RECONCILE,)}


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
    """What a log holds now; `pauses` has the seconds left of every pause that lasts."""

    uses: Sequence[Use]
    pauses: Mapping[Caller, float]


class RequestLog(Protocol):
    """Where requests are written down before they are sent."""

    def ask(self, caller: Caller) -> float:
        """0 when the request may be sent (it is then written down), else the seconds to wait."""
        ...

    def pause(self, caller: Caller, seconds: float) -> None:
        """Nothing for this caller, nor for those after it, until the seconds are over.

        A pause of `RECONCILE` alone leaves it its floor.
        """
        ...

    def state(self) -> State:
        """What was sent and who is paused; writes nothing."""
        ...


class OwnLog:
    """The log of one process: what tests use, and what is left when Redis is away.

    `clock` tells seconds that never go back.
    """

    def __init__(self, windows: Sequence[Window], clock: Callable[[], float] = monotonic) -> None:
        self._windows = judged(windows)
        self._pace = pace(windows)
        self._clock = clock
        self._longest = max(window.seconds for window in self._windows) * _SECOND
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
            return wait / _SECOND

    def pause(self, caller: Caller, seconds: float) -> None:
        with self._lock:
            until = self._now() + round(seconds * _SECOND)
            self._paused_until[caller] = max(self._paused_until[caller], until)

    def state(self) -> State:
        with self._lock:
            now = self._now()
            uses = [Use(window, self._used(window, now)) for window in self._windows]
            pauses = {caller: until - now for caller, until in self._paused_until.items() if until > now}
        return State(uses, {caller: left / _SECOND for caller, left in pauses.items()})

    def _free_at(self, caller: Caller, now: int) -> int:
        """The moment from which the caller may send, if nobody else does before."""
        slowed_until = max((self._paused_until[pause] for pause in _SLOWED_BY[caller]), default=0)
        moments = [self._paused_until[pause] for pause in _STOPPED_BY[caller]]
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
        since = now - window.seconds * _SECOND
        return {caller: len(times) - bisect_right(times, since) for caller, times in self._sent.items()}

    def _now(self) -> int:
        return round(self._clock() * _SECOND)


class _Keys:
    """The names of a shared log in Redis."""

    def __init__(self, prefix: str) -> None:
        self.all = f"{prefix}:sent:all"
        self.sent = {caller: f"{prefix}:sent:{caller}" for caller in Caller}
        self.pauses = {caller: f"{prefix}:pause:{caller}" for caller in Caller}
        self._of = {caller: self._asked_by(caller) for caller in Caller}

    def of(self, caller: Caller) -> list[str]:
        """What a request of this caller depends on."""
        return self._of[caller]

    def _asked_by(self, caller: Caller) -> list[str]:
        pauses = (*_STOPPED_BY[caller], *_SLOWED_BY[caller])
        return [self.all, *self.sent.values(), *(self.pauses[pause] for pause in pauses)]


class SharedLog:
    """The log of all processes, on Redis' own clock; asks and writes in one step.

    `prefix` gives the beginning of every key; it is called at the first use. Every method raises `RedisError`
    when Redis is away, within one socket timeout of the client, and what `prefix` raises.
    """

    # KEYS: the send times of all, of each caller, then the pauses that concern this one.
    # ARGV: the caller's place; how many of the pauses stop it, the others slow it down; its pace and the
    # microseconds of a piece; the microseconds of the longest window; then for each window requests,
    # microseconds, the ceiling (0: none) and every caller's floor.
    #
    # A newest time ahead of the clock means that this was set back: by up to a second, and time stands
    # still for so long; by more, and the log is dropped, for it would block until the clock has caught up.
    # Scores are send times; members only have to differ. Numbers stay below 2^53, where Lua is exact.
    _ASK = """
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local arg = {}
    for i = 1, #ARGV do arg[i] = tonumber(ARGV[i]) end
    local all, own, callers = KEYS[1], KEYS[1 + arg[1]], 3

    local function text(number) return string.format('%.0f', number) end
    local function leaves(key, nth_newest, length)
        if nth_newest == 0 then return 0 end
        local entry = redis.call('ZRANGE', key, -nth_newest, -nth_newest, 'WITHSCORES')
        return entry[2] and entry[2] + length or 0
    end

    local newest = leaves(all, 1, 0)
    if newest > now + 1000000 then
        redis.call('DEL', unpack(KEYS, 1, 1 + callers))
    else
        now = math.max(now, newest)
    end

    local free_at, slowed_until = 0, 0
    for i = 2 + callers, #KEYS do
        local over = now + redis.call('PTTL', KEYS[i]) * 1000
        if i - callers - 1 <= arg[2] then free_at = math.max(free_at, over) else slowed_until = over end
    end
    free_at = math.max(free_at, leaves(own, arg[3], arg[4]))

    for i = 6, #arg, 3 + callers do
        local requests, length, ceiling = arg[i], arg[i + 1], arg[i + 2]
        local taken, room_at = 0, math.huge
        local since = '(' .. text(now - length)
        local above = {}
        for c = 1, callers do
            local used, floor = redis.call('ZCOUNT', KEYS[1 + c], since, '+inf'), 0
            if c ~= arg[1] then floor = arg[i + 2 + c] end
            taken = taken + math.max(used, floor)
            if used > floor then above[KEYS[1 + c]] = used end
        end
        if taken >= requests then
            for key, used in pairs(above) do room_at = math.min(room_at, leaves(key, used, length)) end
            free_at = math.max(free_at, room_at)
        end
        if ceiling > 0 then
            local below_ceiling_at = math.max(leaves(all, ceiling, length), slowed_until)
            local floor = arg[i + 2 + arg[1]]
            free_at = math.max(free_at, math.min(below_ceiling_at, leaves(own, floor, length)))
        end
    end
    if free_at > now then return free_at - now end

    redis.call('ZREMRANGEBYSCORE', all, '-inf', text(now - arg[5]))
    redis.call('ZREMRANGEBYSCORE', own, '-inf', text(now - arg[5]))
    local member = text(now) .. ':' .. redis.call('ZCARD', all)
    for _, key in ipairs({all, own}) do
        redis.call('ZADD', key, text(now), member)
        redis.call('PEXPIRE', key, text(arg[5] / 1000))
    end
    return 0
    """

    # A shorter pause never cuts a longer one short.
    _PAUSE = """
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
        redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
    end
    """

    # KEYS: the send times and the pause of each caller in turn. ARGV: the microseconds of each window.
    # Answers each pause's milliseconds, then each window's requests by caller.
    _STATE = """
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local answer = {}
    for i = 2, #KEYS, 2 do table.insert(answer, redis.call('PTTL', KEYS[i])) end
    for _, length in ipairs(ARGV) do
        local since = '(' .. string.format('%.0f', now - length)
        for i = 1, #KEYS, 2 do table.insert(answer, redis.call('ZCOUNT', KEYS[i], since, '+inf')) end
    end
    return answer
    """

    def __init__(
        self,
        client: Redis,
        windows: Sequence[Window],
        name: str,
        prefix: Callable[[], str] = lambda: "seatsync:",
    ) -> None:
        client = _without_retries(client)
        self._windows = judged(windows)
        self._name = name
        self._prefix = prefix
        self._arguments = {caller: self._arguments_of(caller, pace(windows)) for caller in Caller}
        self._ask = client.register_script(self._ASK)
        self._pause = client.register_script(self._PAUSE)
        self._state = client.register_script(self._STATE)

    def ask(self, caller: Caller) -> float:
        microseconds = self._ask(self._keys.of(caller), self._arguments[caller])
        return cast("int", microseconds) / _SECOND

    def pause(self, caller: Caller, seconds: float) -> None:
        self._pause([self._keys.pauses[caller]], [max(1, round(seconds * 1000))])

    def state(self) -> State:
        keys = [key for caller in Caller for key in (self._keys.sent[caller], self._keys.pauses[caller])]
        lengths = [window.seconds * _SECOND for window in self._windows]
        answer = iter(cast("list[int]", self._state(keys, lengths)))
        pauses = {caller: next(answer) for caller in Caller}
        uses = [Use(window, {caller: next(answer) for caller in Caller}) for window in self._windows]
        return State(uses, {caller: left / 1000 for caller, left in pauses.items() if left > 0})

    @cached_property
    def _keys(self) -> _Keys:
        # The braces keep the keys of one script on one cluster node.
        return _Keys(f"{self._prefix()}budget:{{{self._name}}}")

    def _arguments_of(self, caller: Caller, paced: int) -> list[int]:
        longest = max(window.seconds for window in self._windows)
        own_pace = paced if caller is Caller.RECONCILE else 0
        arguments = [list(Caller).index(caller) + 1, len(_STOPPED_BY[caller])]
        arguments += [own_pace, PIECE * _SECOND, longest * _SECOND]
        for window in self._windows:
            arguments += [window.requests, window.seconds * _SECOND, window.ceiling(caller)]
            arguments += [window.floor(other) for other in Caller]
        return arguments


def _leaves(times: Sequence[int], nth_newest: int, seconds: int) -> int:
    """The moment at which this request leaves a window of so many seconds; 0 where there is none."""
    return times[-nth_newest] + seconds * _SECOND if 0 < nth_newest <= len(times) else 0


def _forget(times: list[int], until: int) -> None:
    """Drop what is older, once it is the half: each drop moves what stays."""
    old = bisect_right(times, until)
    if old * 2 > len(times):
        del times[:old]


def _without_retries(client: Redis) -> Redis:
    """The same server, but one try: redis-py's default sleeps through ten (3.5 s with Redis refusing)."""
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "retry": Retry(NoBackoff(), 0)}
    return Redis(
        connection_pool=ConnectionPool(
            connection_class=pool.connection_class, max_connections=pool.max_connections, **options
        )
    )
