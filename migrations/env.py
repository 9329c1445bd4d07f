"""Run by Alembic. Migrations run online only, one process at a time and each in its own transaction.

A revision that cannot get a lock at once gives up and is tried again, for at most `_PATIENCE_SECONDS`; those
that are done stay done.
"""

from __future__ import annotations

import logging
import time

from alembic import context
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from migrations import LOCK
from migrations.online import LOCK_TIMEOUT
from models.all_tables import metadata
from models.database import PatientConnection, connect
from runtime.settings import Settings

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.2
_PATIENCE_SECONDS = 600.0


def _engine() -> Engine:
    given = context.config.attributes.get("engine")
    if given is not None:
        return given
    settings = Settings.from_env()
    if settings.direct_url is None:
        raise SystemExit("Set DATABASE_URL, or use `seatsync migrate`, which knows the embedded server.")
    return connect(
        settings.direct_url, application="seatsync-migrate", is_declared_direct=settings.is_declared_direct
    )


def _wait_for_turn(connection: Connection) -> None:
    """Take the migration lock; wait until no other process holds it.

    Polls instead of waiting in one statement: an index that the other process builds concurrently would wait
    for that statement's transaction, and neither would ever finish.
    """
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
        connection.commit()
        time.sleep(_PAUSE_SECONDS)
    connection.commit()


def _migrate(connection: Connection) -> None:
    """Run the missing revisions, again and again if another transaction holds a lock that they need. Each one
    has the whole patience for itself.
    """
    give_up_at, is_postponed = time.monotonic() + _PATIENCE_SECONDS, False

    def start_anew(**_: object) -> None:
        nonlocal give_up_at, is_postponed
        give_up_at, is_postponed = time.monotonic() + _PATIENCE_SECONDS, False

    while True:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            compare_server_default=True,
            transaction_per_migration=True,
            on_version_apply=start_anew,
        )
        try:
            with context.begin_transaction():
                context.run_migrations()
        except OperationalError as error:
            connection.rollback()
            if not isinstance(error.orig, LockNotAvailable) or time.monotonic() >= give_up_at:
                raise
            if not is_postponed:
                log.warning("migration postponed: another transaction holds a lock that it needs")
            is_postponed = True
        else:
            return
        time.sleep(_PAUSE_SECONDS)


def _run() -> None:
    with _engine().connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        driver = connection.connection.driver_connection
        if isinstance(driver, PatientConnection):
            driver.patience = None
        _wait_for_turn(connection)
        try:
            _migrate(connection)
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            connection.commit()


_run()
