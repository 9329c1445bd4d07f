"""The servers a process works with: those of the environment, else embedded ones that start by themselves."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from runtime.embedded import PostgresServer, RedisServer
from runtime.settings import Settings


@contextmanager
def running_servers(settings: Settings) -> Iterator[Settings]:
    """The settings with every address filled in; embedded servers run until the block ends.

    One that runs already, for another process with the same SEATSYNC_HOME, is shared; the last to
    leave stops it.
    """
    with ExitStack() as stack:
        yield settings.with_servers(
            database_url=settings.database_url or stack.enter_context(PostgresServer(settings.home)).url,
            redis_url=settings.redis_url or stack.enter_context(RedisServer(settings.home)).url,
        )


def with_running_servers(settings: Settings) -> Settings:
    """The same for the lifetime of the process."""
    stack = ExitStack()
    filled = stack.enter_context(running_servers(settings))
    atexit.register(stack.close)
    return filled
