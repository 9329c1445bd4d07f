"""The broker and the cache: without them all is slower, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from redis import RedisError

from cli.doctor.result import Level, Result, ok
from runtime.wiring import Runtime
from worker import broker


def check(runtime: Runtime) -> Iterator[Result]:
    """Whether they answer."""
    url = str(runtime.settings.broker_url)
    if broker.answers(url):
        yield ok("broker", f"It answers ({urlsplit(url).scheme}).")
    else:
        yield Result(
            Level.WARNING,
            "broker",
            "It does not answer: the sweeper does the work itself, more slowly.",
            "Check that it runs, and CELERY_BROKER_URL, or REDIS_URL where that is not set.",
        )
    try:
        runtime.redis.ping()
        yield ok("cache", "Redis answers.")
    except RedisError as error:
        yield Result(
            Level.WARNING,
            "cache",
            f"Redis does not answer ({type(error).__name__}): reads go to the database, and each process "
            "takes its own small part of the provider's allowance.",
            "Check that it runs, and REDIS_URL.",
        )
