"""Wiring: build a Runtime from the settings, once per process and after any fork."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
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

# Redis holds only the cache and the request budget, which are not worth a longer wait.
_REDIS_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything a process works with. It holds connections, so it must not be shared across a fork."""

    settings: Settings
    catalog: Catalog
    engine: Engine
    sessions: Sessions
    redis: redis.Redis
    cache: SeatCache
    provider: Provider
    direct_engine: Engine | None = None

    @property
    def lock_engine(self) -> Engine:
        """For locks that outlast a transaction: connections that do not lead through a pooler."""
        return self.direct_engine or self.engine

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction. After its commit the cached seats of the accounts that it wrote are invalidated."""
        with self.sessions.begin() as session:
            yield session
        self.cache.invalidate(written_accounts(session))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self.lock_engine.dispose()
        self.redis.close()


def build(
    settings: Settings, *, pool_size: int = 8, max_overflow: int = 4, application: str = "seatsync"
) -> Runtime:
    """Build the runtime. Connections are opened at their first use, as `models.database.connect` says;
    `application` is their name in PostgreSQL.

    Raises `SettingsError` if a server's address is missing, `CatalogError` if the catalogue has mistakes.
    """
    if settings.database_url is None or settings.redis_url is None:
        raise SettingsError(
            "DATABASE_URL and REDIS_URL must be set here. Only `seatsync up` starts servers itself."
        )
    engine = connect_engine(settings, pool_size=pool_size, max_overflow=max_overflow, application=application)
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
        direct_engine=(
            connect(
                settings.database_direct_url, pool_size=1, application=application, is_declared_direct=True
            )
            if settings.database_direct_url
            else None
        ),
    )


def connect_engine(
    settings: Settings, *, pool_size: int = 8, max_overflow: int = 4, application: str
) -> Engine:
    """An engine for DATABASE_URL, which may lead through a pooler."""
    return connect(
        str(settings.database_url),
        pool_size=pool_size,
        max_overflow=max_overflow,
        application=application,
        is_pooled=settings.is_pooled,
        is_declared_direct=settings.is_declared_direct,
    )


def check_direct_url(settings: Settings) -> None:
    """Raise `PoolerMisused` if DATABASE_DIRECT_URL leads through a pooler that refuses start options. Does
    nothing if it cannot be reached.
    """
    if settings.database_direct_url is None:
        return
    engine = connect(
        settings.database_direct_url, pool_size=1, application="seatsync-start", is_declared_direct=True
    )
    with suppress(SQLAlchemyError), engine.connect():
        pass
    engine.dispose()


def namespace_of(settings: Settings) -> str:
    """The prefix of the service's keys and queues for this database. Raises `NamespaceUnknown` if the
    database cannot be read.
    """
    engine = connect_engine(settings, pool_size=1, application="seatsync-id")
    try:
        return Namespace(session_factory(engine))()
    finally:
        engine.dispose()


def read_catalog(settings: Settings) -> Catalog:
    """The catalogue of the settings. Raises `CatalogError` with all mistakes."""
    return read_catalog_file(settings.catalog)


def read_catalog_file(path: Path) -> Catalog:
    """The catalogue in the file, marked with this release's schema revision. Raises `CatalogError`."""
    return replace(load_catalog(path), release=schema.newest())


def redis_client(url: str) -> redis.Redis:
    """A client with short timeouts: every caller can continue without Redis."""
    return redis.Redis.from_url(
        url,
        socket_timeout=_REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=_REDIS_TIMEOUT_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),  # one retry, for a connection that died while idle
    )
