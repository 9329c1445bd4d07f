"""The PostgreSQL and Redis that a process uses: those in the settings, otherwise embedded ones."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from domain.errors import SettingsError
from runtime.embedded import PostgresServer, RedisServer
from runtime.embedded.errors import EmbeddedServerError
from runtime.embedded.server import Server
from runtime.settings import Settings

log = logging.getLogger(__name__)

_WATCH_SECONDS: Final = 0.5


@contextmanager
def running_servers(settings: Settings) -> Iterator[Settings]:
    """Yield the settings with both addresses filled in. Missing servers are created and run until the block
    ends.

    Processes with the same SEATSYNC_HOME share the servers; the last one to leave stops them.
    """
    with ExitStack() as stack:
        filled, _ = _start(settings, stack)
        yield filled


@contextmanager
def watched_servers(settings: Settings) -> Iterator[Settings]:
    """Like `running_servers`, and restart embedded servers that die, at the same address."""
    with ExitStack() as stack:
        filled, embedded = _start(settings, stack)
        stack.enter_context(watching(embedded))
        yield filled


@contextmanager
def existing_servers(settings: Settings) -> Iterator[Settings]:
    """Like `running_servers`, but create none: a process started in the wrong directory would work on an
    empty database.

    Raises `SettingsError` if an address is not set and the embedded server has no data.
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


def _start(settings: Settings, stack: ExitStack) -> tuple[Settings, Sequence[Server]]:
    """Start the embedded servers that the settings need; return the filled settings and these servers."""
    embedded: list[Server] = []

    def start(server: Server) -> str:
        embedded.append(stack.enter_context(server))
        return server.url

    filled = settings.with_servers(
        database_url=settings.database_url or start(PostgresServer(settings.home)),
        redis_url=settings.redis_url or start(RedisServer(settings.home)),
    )
    return filled, embedded


@contextmanager
def watching(servers: Sequence[Server]) -> Iterator[None]:
    """Restart servers that die until the block ends. Each has a thread of its own, so that none waits for
    another's restart.
    """
    ended = threading.Event()
    watchers = [
        threading.Thread(target=_watch, args=(server, ended), name=f"{server.name}-watcher")
        for server in servers
    ]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        ended.set()
        for watcher in watchers:
            watcher.join()


def _watch(server: Server, ended: threading.Event) -> None:
    while not ended.wait(_WATCH_SECONDS):
        if server.is_alive():
            continue
        log.warning("embedded server died", extra={"server": server.name})
        try:
            server.start()
        except EmbeddedServerError as error:
            log.error(  # noqa: TRY400  the message has the details
                "embedded server not restarted", extra={"server": server.name, "reason": error.message}
            )
