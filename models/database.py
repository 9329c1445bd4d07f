"""The database engine and the session factory. Each process creates its own, after any fork.

A session records which accounts it wrote, so that `runtime.wiring` can invalidate their cache entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker

Sessions = sessionmaker[Session]

# UTC whatever the server's setting. No statement waits longer for a lock, or runs longer, than a caller would
# wait; and a transaction left open by its process releases its locks. The last option is for disks without
# moving heads: with the default of 4, pages of a large account's members are read by walking the primary key
# of the whole table.
_SERVER_OPTIONS = (
    "-c timezone=utc -c lock_timeout=5s -c statement_timeout=15s -c idle_in_transaction_session_timeout=30s "
    "-c random_page_cost=1.1"
)

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


def connect(url: str, *, pool_size: int = 8, application: str = "seatsync") -> Engine:
    """An engine for PostgreSQL. An unreachable server is detected within 2 seconds, a frozen one after
    `ANSWER_SECONDS`.
    """
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=5,
        connect_args={**_TIMEOUTS, "options": _SERVER_OPTIONS, "application_name": application},
    )
    event.listen(engine, "do_connect", _connect_patiently)
    return engine


def _connect_patiently(
    _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
) -> PatientConnection:
    return PatientConnection.connect(*arguments, **options)


@contextmanager
def dedicated_connection(engine: Engine) -> Iterator[Connection]:
    """A connection for a session-level lock, which ends with the connection and so with the process.

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
