"""The servers that a process works with: those of the environment, else embedded ones."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from runtime.embedded import PostgresServer, RedisServer
from runtime.embedded.server import Server
from runtime.settings import Settings
from seats.errors import SettingsError


@contextmanager
def running_servers(settings: Settings) -> Iterator[Settings]:
    """The settings with every address filled in. Embedded servers are created if they do not exist yet, and
    run until the block ends.

    A server that already runs for another process with the same SEATSYNC_HOME is shared; the last process
    to leave stops it.
    """
    with ExitStack() as stack:
        yield settings.with_servers(
            database_url=settings.database_url or stack.enter_context(PostgresServer(settings.home)).url,
            redis_url=settings.redis_url or stack.enter_context(RedisServer(settings.home)).url,
        )


@contextmanager
def existing_servers(settings: Settings) -> Iterator[Settings]:
    """The same, but no server is created: a process started in the wrong folder would work on an empty one.

    Raises `SettingsError` if an address is not set and there is no such embedded server either.
    """
    with existing_database(settings) as database_url, existing_redis(settings) as redis_url:
        yield settings.with_servers(database_url=database_url, redis_url=redis_url)


@contextmanager
def existing_database(settings: Settings) -> Iterator[str]:
    """The address of the database. Raises `SettingsError` like `existing_servers`."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with _existing(PostgresServer(settings.home)) as server:
        yield server.url


@contextmanager
def existing_redis(settings: Settings) -> Iterator[str]:
    """The address of Redis. Raises `SettingsError` like `existing_servers`."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    with _existing(RedisServer(settings.home)) as server:
        yield server.url


def with_existing_servers(settings: Settings) -> Settings:
    """Like `existing_servers`, for the lifetime of the process."""
    stack = ExitStack()
    filled = stack.enter_context(existing_servers(settings))
    atexit.register(stack.close)
    return filled


def _existing(server: Server) -> Server:
    if server.has_data:
        return server
    raise SettingsError(
        f"{server.instead} is not set, and there is no embedded server in {server.folder}. "
        f"Set {server.instead}, or SEATSYNC_HOME to the data folder of `seatsync up`, or run this where "
        "`seatsync up` runs. `seatsync migrate` creates embedded servers."
    )
