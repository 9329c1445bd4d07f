"""The database engine and the session factory. Each process creates its own, after any fork.

A session records which accounts it wrote, so that `runtime.wiring` can invalidate their cache entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from domain.errors import PoolerMisused

Sessions = sessionmaker[Session]

_TIME_LIMITS: Final[Mapping[str, int]] = {
    "lock_timeout": 5,
    "statement_timeout": 15,
    "idle_in_transaction_session_timeout": 30,
}
"""In seconds. No statement waits longer for a lock, or runs longer, than a caller would wait; and a
transaction left open by its process releases its locks.
"""
SERVER_SETTINGS: Final[Mapping[str, str]] = {
    "timezone": "UTC",
    **{name: f"{seconds}s" for name, seconds in _TIME_LIMITS.items()},
    "random_page_cost": "1.1",
}
"""The settings of every direct connection, as `SHOW` prints them. UTC whatever the server's setting. The last
one is for disks without moving heads: with PostgreSQL's default of 4, pages of a large account's members are
read by walking the primary key of the whole table.
"""
_UTC: Final = frozenset({"UTC", "Etc/UTC"})
_SERVER_OPTIONS: Final = " ".join(f"-c {name}={value}" for name, value in SERVER_SETTINGS.items())

# An unreachable server is detected within 2 seconds, a broken connection within about 10. Without these, a
# half-open connection would block its thread until the kernel's own time-outs.
_TIMEOUTS = {
    "connect_timeout": 2,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}


ANSWER_SECONDS: Final = 18.0
"""How long to wait for a statement's result. Longer than `statement_timeout`, so the server ends it first."""

T = TypeVar("T")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server that does not respond in time.

    The kernel of a frozen server keeps the TCP connection alive, so no network time-out would end the wait.
    `patience` is in seconds and per statement; None waits forever.
    """

    patience: float | None = ANSWER_SECONDS

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As in psycopg, with `patience` as the time limit. After an error that the server did not send, the
        connection is closed, because its state at the server is unknown.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:
                self.pgconn.finish()
            raise


def connect(
    url: str,
    *,
    pool_size: int = 8,
    max_overflow: int = 4,
    application: str = "seatsync",
    is_pooled: bool = False,
    is_declared_direct: bool = False,
) -> Engine:
    """An engine for PostgreSQL. An unreachable server is detected within 2 seconds, a frozen one after
    `ANSWER_SECONDS`. Up to `pool_size` connections are kept open; `max_overflow` more are closed after each
    use.

    `is_pooled`: the URL leads through a pooler such as PgBouncer, which may give each transaction another
    connection of the server. Then nothing may be kept from one transaction to the next: no session-level
    lock, no setting and no prepared statement.

    `is_declared_direct`: the operator says, with DATABASE_DIRECT_URL, that the URL leads to PostgreSQL
    itself. Then an invented process id is no sign of a pooler: some proxies invent them and pool nothing.

    Connecting raises `PoolerMisused` if the URL leads through a pooler and `is_pooled` is not set, or if
    behind the pooler the time zone is not UTC, or a time limit is off or longer than in `SERVER_SETTINGS`.
    """
    how: dict[str, object] = {"prepare_threshold": None} if is_pooled else {"options": _SERVER_OPTIONS}
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=5,
        connect_args={**_TIMEOUTS, **how, "application_name": application},
    )
    if is_pooled:
        event.listen(engine, "do_connect", _connect_through_pooler)
    elif is_declared_direct:
        event.listen(engine, "do_connect", _connect_directly)
    else:
        event.listen(engine, "do_connect", _connect_without_pooler)
    return engine


def _connect_directly(
    _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
) -> PatientConnection:
    try:
        return PatientConnection.connect(*arguments, **options)
    except psycopg.OperationalError as error:
        if "unsupported startup parameter" in str(error):
            raise PoolerMisused(_POOLED_UNAWARES) from None
        raise


def _connect_without_pooler(
    dialect: object, record: object, arguments: list[Any], options: dict[str, Any]
) -> PatientConnection:
    connection = _connect_directly(dialect, record, arguments, options)
    if _ask(connection, "SELECT pg_backend_pid()") != [(connection.info.backend_pid,)]:
        connection.close()
        raise PoolerMisused(_POOLED_UNAWARES)
    return connection


def has_pid_of_server(connection: Connection) -> bool:
    """True if the process id that was announced when the connection began is that of the server's process.
    A pooler gives its clients process ids of its own invention, and so do some proxies that pool nothing.
    """
    driver = connection.connection.driver_connection
    announced = driver.info.backend_pid if isinstance(driver, PatientConnection) else None
    return bool(connection.scalar(text("SELECT pg_backend_pid()")) == announced)


def _connect_through_pooler(
    _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
) -> PatientConnection:
    connection = PatientConnection.connect(*arguments, **options)
    # The view has time limits in milliseconds, and calls the time zone "TimeZone".
    read = "SELECT lower(name), setting FROM pg_settings WHERE lower(name) = ANY (%s)"
    found: dict[str, str] = dict(_ask(connection, read, [["timezone", *_TIME_LIMITS]]))
    if wrong := _wrong_settings(found):
        user = connection.info.user
        connection.close()
        raise PoolerMisused(_explain_settings(user, wrong))
    return connection


def _wrong_settings(found: Mapping[str, str]) -> dict[str, str]:
    """Those of the found settings that the service cannot work with, as they are shown to the operator."""
    wrong = {} if found["timezone"] in _UTC else {"timezone": found["timezone"]}
    for name, seconds in _TIME_LIMITS.items():
        milliseconds = int(found[name])
        if not 0 < milliseconds <= seconds * 1000:
            wrong[name] = f"{milliseconds} ms" if milliseconds else "off"
    return wrong


def _ask(connection: PatientConnection, query: LiteralString, parameters: Sequence[object] = ()) -> list[Any]:
    """The rows of the query's result. It runs outside of a transaction, and needs one round trip."""
    connection.autocommit = True
    rows = connection.execute(query, parameters).fetchall()
    connection.autocommit = False
    return rows


_POOLED_UNAWARES: Final = (
    "The database is reached through a connection pooler such as PgBouncer, which would lose time limits and "
    "locks of the service. Set DATABASE_URL to the pooler, and DATABASE_DIRECT_URL to PostgreSQL itself. If "
    "DATABASE_URL is a direct address, behind a proxy that pools nothing, set DATABASE_DIRECT_URL to it too."
)


def _explain_settings(user: str, wrong: Mapping[str, str]) -> str:
    differences = ", ".join(
        f"{name} is {found} instead of {SERVER_SETTINGS[name]}" for name, found in wrong.items()
    )
    message = (
        f"DATABASE_URL leads through a connection pooler, and behind it {differences}. A pooler does not "
        "take such settings from its clients. Set them for the user, then have the pooler open new "
        "connections (RECONNECT in PgBouncer's console):"
    )
    return "\n".join(
        [message, *(f"  ALTER ROLE \"{user}\" SET {name} = '{SERVER_SETTINGS[name]}';" for name in wrong)]
    )


@contextmanager
def dedicated_connection(engine: Engine) -> Iterator[Connection]:
    """A connection for a session-level lock, which ends with the connection and so with the process. The
    engine must not be a pooled one.

    It autocommits, because the server would end a transaction that stays idle. At the end it is closed rather
    than returned to the pool, so that no other user inherits its lock or settings.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            yield connection
        finally:
            connection.invalidate()


def session_factory(engine: Engine) -> Sessions:
    """A session factory. `with sessions.begin() as session:` runs one transaction."""
    return sessionmaker(engine, expire_on_commit=False)


_WRITTEN: Final = "seatsync accounts written"


def record_written(session: Session, account_id: str, version: int) -> None:
    """Record that the session wrote the account, which now has this version."""
    session.info.setdefault(_WRITTEN, {})[account_id] = version


def written_accounts(session: Session) -> Mapping[str, int]:
    """The accounts that the session wrote, with their newest versions, for cache invalidation."""
    written: Mapping[str, int] = session.info.get(_WRITTEN, {})
    return written
