"""The request log that all processes share, kept in Redis by atomic Lua scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import cast

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from providers.base import Priority
from providers.rate_limit.request_log import SECOND, SLOWED_BY, STOPPED_BY, State, Use
from providers.rate_limit.shares import PACE_SECONDS, Window, pace, with_divisible_multiples


class _Keys:
    """The names of a shared log in Redis."""

    def __init__(self, prefix: str) -> None:
        self.all = f"{prefix}:sent:all"
        self.sent = {priority: f"{prefix}:sent:{priority}" for priority in Priority}
        self.pauses = {priority: f"{prefix}:pause:{priority}" for priority in Priority}
        self._of = {priority: self._read_for(priority) for priority in Priority}

    def of(self, priority: Priority) -> list[str]:
        """The keys that decide whether this caller may send a request."""
        return self._of[priority]

    def _read_for(self, priority: Priority) -> list[str]:
        pauses = (*STOPPED_BY[priority], *SLOWED_BY[priority])
        return [self.all, *self.sent.values(), *(self.pauses[pause] for pause in pauses)]


class RedisLog:
    """The request log of all processes, by the clock of Redis.

    `prefix` returns the prefix of all keys; it is called at the first use. Every method raises `RedisError`
    if Redis is unreachable, after at most one socket time-out, and whatever `prefix` raises.
    """

    # KEYS: the send times of all callers, then of each caller, then the pauses that concern this caller.
    # ARGV: the index of the caller; how many of the pauses stop it (the others slow it down); its pace, and
    # the microseconds that the pace is for; the microseconds of the longest window; then for each window its
    # requests, microseconds, ceiling (0: none) and the floor of every caller.
    #
    # If the newest time is in the future, the clock was set back. By up to a second, time stands still until
    # the clock has caught up; by more, the log is dropped, since it would block requests for that long.
    # Scores are send times; members only have to be unique. Numbers stay below 2^53, where Lua is exact.
    _RESERVE = """
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

    # A shorter pause does not replace a longer one.
    _PAUSE = """
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
        redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
    end
    """

    # KEYS: for each caller its send times and its pause. ARGV: the microseconds of each window.
    # Returns the milliseconds of each pause, then for each window the requests by caller.
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
        self._windows = with_divisible_multiples(windows)
        self._name = name
        self._prefix = prefix
        self._arguments = {priority: self._arguments_of(priority, pace(windows)) for priority in Priority}
        self._reserve = client.register_script(self._RESERVE)
        self._pause = client.register_script(self._PAUSE)
        self._state = client.register_script(self._STATE)

    def reserve(self, priority: Priority) -> float:
        microseconds = self._reserve(self._keys.of(priority), self._arguments[priority])
        return cast("int", microseconds) / SECOND

    def pause(self, priority: Priority, seconds: float) -> None:
        self._pause([self._keys.pauses[priority]], [max(1, round(seconds * 1000))])

    def state(self) -> State:
        """What was sent and who is paused; writes nothing."""
        keys = [
            key for priority in Priority for key in (self._keys.sent[priority], self._keys.pauses[priority])
        ]
        lengths = [window.seconds * SECOND for window in self._windows]
        answer = iter(cast("list[int]", self._state(keys, lengths)))
        pauses = {priority: next(answer) for priority in Priority}
        uses = [Use(window, {priority: next(answer) for priority in Priority}) for window in self._windows]
        return State(uses, {priority: left / 1000 for priority, left in pauses.items() if left > 0})

    @cached_property
    def _keys(self) -> _Keys:
        # The braces keep the keys of one script on one cluster node.
        return _Keys(f"{self._prefix()}budget:{{{self._name}}}")

    def _arguments_of(self, priority: Priority, paced: int) -> list[int]:
        longest = max(window.seconds for window in self._windows)
        own_pace = paced if priority is Priority.RECONCILE else 0
        arguments = [list(Priority).index(priority) + 1, len(STOPPED_BY[priority])]
        arguments += [own_pace, PACE_SECONDS * SECOND, longest * SECOND]
        for window in self._windows:
            arguments += [window.requests, window.seconds * SECOND, window.ceiling(priority)]
            arguments += [window.floor(other) for other in Priority]
        return arguments


def _without_retries(client: Redis) -> Redis:
    """A client of the same server without retries. By default, redis-py retries ten times, which takes 3.5
    s.
    """
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "retry": Retry(NoBackoff(), 0)}
    return Redis(
        connection_pool=ConnectionPool(
            connection_class=pool.connection_class, max_connections=pool.max_connections, **options
        )
    )
