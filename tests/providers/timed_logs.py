"""The log of all processes on a clock that a test moves, and what must hold for all it lets through."""

from providers.base import Priority
from providers.rate_limit.redis_log import RedisLog
from providers.rate_limit.shares import PACE_SECONDS, pace, with_divisible_multiples

SECOND = 1_000_000  # microseconds


class Time:
    """Whole microseconds, which Redis is told."""

    def __init__(self, client):
        self._client = client
        self.now = 1_000_000 * SECOND
        self.move(0)

    def move(self, microseconds):
        self.now += microseconds
        with self._client.pipeline() as pipe:
            pipe.delete("clock").rpush("clock", *divmod(self.now, SECOND)).execute()


class TimedRedisLog(RedisLog):
    _RESERVE = RedisLog._RESERVE.replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, 1)")
    _STATE = RedisLog._STATE.replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, 1)")


class TimedLog:
    """A log, its time, and all that it let through. Waits are microseconds here."""

    def __init__(self, windows, client):
        client.flushdb()
        self._log = TimedRedisLog(client, windows, "test")
        self._time = Time(client)
        self.windows = with_divisible_multiples(windows)
        self._pace = pace(windows)
        self.granted = []

    @property
    def now(self):
        return self._time.now

    def reserve(self, priority):
        wait = round(self._log.reserve(priority) * SECOND)
        if not wait:
            self.granted.append((self.now, priority))
        return wait

    def reserve_until_refused(self, priority, most=10_000):
        return next(times for times in range(most) if self.reserve(priority))

    def pause(self, priority, seconds):
        self._log.pause(priority, seconds)

    def state(self):
        return self._log.state()

    def passes(self, seconds):
        self._time.move(round(seconds * SECOND))

    def used(self, seconds, priority=None):
        """What was sent in the last seconds, by our own book."""
        return self.within(self.now - seconds * SECOND, self.now, priority)

    def within(self, since, until, priority=None):
        return sum(since < sent <= until and priority in (None, who) for sent, who in self.granted)

    def has_had_its_floor(self, priority):
        """Whether a refusal is just: the caller has used up a floor, its pace, or there is no room at all."""
        paced = priority is Priority.RECONCILE and 0 < self._pace <= self.used(PACE_SECONDS, priority)
        return paced or any(
            self.used(window.seconds, priority) >= floor
            if (floor := window.floor(priority))
            else self.used(window.seconds) + sum(self.kept_from(priority, window)) >= window.requests
            for window in self.windows
        )

    def kept_from(self, priority, window):
        for other in Priority:
            if other is not priority:
                yield max(window.floor(other) - self.used(window.seconds, other), 0)

    def assert_no_window_is_exceeded(self):
        for window in self.windows:
            for sent, _ in self.granted:
                assert self.within(sent - window.seconds * SECOND, sent) <= window.requests
