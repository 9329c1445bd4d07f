"""The engine and the session factory; each process makes its own, after any fork.

A session remembers which accounts it wrote, for whoever shows copies of them (`runtime.wiring`).
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

# Aware UTC times whatever the server thinks; nobody waits for a lock or a statement longer than a
# caller would, and a transaction that its process forgot frees its locks by itself.
_SERVER_OPTIONS = (
    "-c timezone=utc -c lock_timeout=5s -c statement_timeout=15s -c idle_in_transaction_session_timeout=30s"
)

# A server that is away is noticed in two seconds, one that the network swallowed in about ten: without
# these a half-open connection holds its thread for as long as the kernel pleases.
_PATIENCE = {
    "connect_timeout": 2,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}


ANSWER_SECONDS: Final = 18.0
"""How long a statement is waited for; more than `statement_timeout`, so that the server can end it first."""

T = TypeVar("T")


class PatientConnection(psycopg.Connection[Any]):
    """Gives a server up that does not answer in time, as one that is frozen: its kernel still keeps the TCP
    connection alive, so no time-out of the network ends the wait.

    `patience` in seconds holds for each statement; None waits without end.
    """

    patience: float | None = ANSWER_SECONDS

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's. After an error that is not the server's the connection is closed: nobody knows what
        the server still does with it.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:
                self.pgconn.finish()
            raise


def connect(url: str, *, pool_size: int = 8, application: str = "seatsync") -> Engine:
    """An engine on PostgreSQL. A server that is away is noticed within two seconds, one that is frozen after
    `ANSWER_SECONDS`.
    """
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=5,
        connect_args={**_PATIENCE, "options": _SERVER_OPTIONS, "application_name": application},
    )
    event.listen(engine, "do_connect", _connect_patiently)
    return engine


def _connect_patiently(
    _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
) -> PatientConnection:
    return PatientConnection.connect(*arguments, **options)


@contextmanager
def dedicated_connection(engine: Engine) -> Iterator[Connection]:
    """A connection for a lock that goes with it, and so with the process.

    Outside of transactions, or the server would end one that seems forgotten; closed at the end and not
    given back, so that nobody inherits its lock or its settings.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            yield connection
        finally:
            connection.invalidate()


def session_factory(engine: Engine) -> Sessions:
    """`with sessions.begin() as session:` is one transaction."""
    return sessionmaker(engine, expire_on_commit=False)


_WRITTEN: Final = "seatsync accounts written"


def record_written(session: Session, account_id: str, version: int) -> None:
    """Remember that the session wrote the account, which has this version now."""
    session.info.setdefault(_WRITTEN, {})[account_id] = version


def written_accounts(session: Session) -> Mapping[str, int]:
    """The accounts that the session wrote, with their newest versions: what caches must be told."""
    written: Mapping[str, int] = session.info.get(_WRITTEN, {})
    return written
