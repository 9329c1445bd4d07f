"""The wiring: from Settings to a Runtime, once per process and always after any fork."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine
from sqlalchemy.orm import Session

import providers
from domain.catalog.model import Catalog
from domain.errors import SettingsError
from models.database import Sessions, connect, session_factory, written_accounts
from models.installation import Namespace
from providers.base import Provider
from runtime import schema
from runtime.catalogs import load_catalog
from runtime.seat_cache import SeatCache
from runtime.settings import Settings

# Longer would make a caller wait for what is only a shadow, or a shared budget.
_REDIS_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything a process works with; nothing in it may cross a fork."""

    settings: Settings
    catalog: Catalog
    engine: Engine
    sessions: Sessions
    redis: redis.Redis
    cache: SeatCache
    provider: Provider

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction. After its commit, readers are told which accounts it wrote."""
        with self.sessions.begin() as session:
            yield session
        self.cache.invalidate(written_accounts(session))

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
        self.redis.close()


def build(settings: Settings, *, pool_size: int = 8, application: str = "seatsync") -> Runtime:
    """Connections (made lazily) and rules for this process.

    Raises `SettingsError` where a server's address is missing, `CatalogError` where the catalogue has
    mistakes.
    """
    if settings.database_url is None or settings.redis_url is None:
        raise SettingsError(
            "DATABASE_URL and REDIS_URL are needed here; `seatsync up` starts servers itself."
        )
    engine = connect(settings.database_url, pool_size=pool_size, application=application)
    client = redis_client(settings.redis_url)
    sessions = session_factory(engine)
    namespace = Namespace(sessions)
    return Runtime(
        settings=settings,
        catalog=read_catalog(settings),
        engine=engine,
        sessions=sessions,
        redis=client,
        cache=SeatCache(client, namespace),
        provider=providers.load("dodo")(
            base_url=settings.provider_url,
            api_key=settings.api_key.get_secret_value(),
            secrets=[secret.get_secret_value() for secret in settings.webhook_secrets],
            tolerance=settings.tolerance,
            rate=settings.provider_rate,
            redis=client,
            prefix=namespace,
            proxy=settings.proxy.get_secret_value() if settings.proxy else None,
        ),
    )


def namespace_of(database_url: str) -> str:
    """The prefix of the service's names outside the database; raises `NamespaceUnknown`."""
    engine = connect(database_url, pool_size=1, application="seatsync-id")
    try:
        return Namespace(session_factory(engine))()
    finally:
        engine.dispose()


def read_catalog(settings: Settings) -> Catalog:
    """The catalogue; raises `CatalogError` with every mistake in it."""
    return read_catalog_file(settings.catalog)


def read_catalog_file(path: Path) -> Catalog:
    """The same for any file: the catalogue as this release reads it."""
    return replace(load_catalog(path), release=schema.newest())


def redis_client(url: str) -> redis.Redis:
    """A client that gives up soon: no caller of ours needs Redis to be right, only to be quick."""
    return redis.Redis.from_url(
        url,
        socket_timeout=_REDIS_TIMEOUT,
        socket_connect_timeout=_REDIS_TIMEOUT,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),  # one more try, for a connection that died while idle
    )
