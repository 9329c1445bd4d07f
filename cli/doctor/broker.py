"""Checks of the broker and the cache. Without them the service is slower, but loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from redis import RedisError

from cli.doctor.result import Level, Result, ok
from runtime.wiring import Runtime
from worker import broker


def check(runtime: Runtime) -> Iterator[Result]:
    """Check that the broker and Redis respond."""
    url = str(runtime.settings.broker_url)
    if broker.answers(url):
        yield ok("broker", f"The broker responds ({urlsplit(url).scheme}).")
    else:
        yield Result(
            Level.WARNING,
            "broker",
            "The broker does not respond. The sweeper does the work itself, more slowly.",
            "Check that the broker runs, and check CELERY_BROKER_URL, or REDIS_URL if that is not set.",
        )
    try:
        runtime.redis.ping()
        yield ok("cache", "Redis responds.")
    except RedisError as error:
        yield Result(
            Level.WARNING,
            "cache",
            f"Redis does not respond ({type(error).__name__}). Seats are read from the database, and each "
            "process uses a fixed small part of the provider's rate limit.",
            "Check that Redis runs, and check REDIS_URL.",
        )
