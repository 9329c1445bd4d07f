"""Run by Alembic. Migrations run online only and one process at a time, and fail if a table stays locked."""

from __future__ import annotations

import time

from alembic import context
from sqlalchemy import Connection, Engine, text

from migrations import LOCK
from models.all_tables import metadata
from models.database import PatientConnection, connect
from runtime.settings import Settings

_PAUSE_SECONDS = 0.2


def _engine() -> Engine:
    given = context.config.attributes.get("engine")
    if given is not None:
        return given
    url = Settings.from_env().direct_url
    if url is None:
        raise SystemExit("Set DATABASE_URL, or use `seatsync migrate`, which knows the embedded server.")
    return connect(url, application="seatsync-migrate")


def _wait_for_turn(connection: Connection) -> None:
    """Take the migration lock; wait until no other process holds it.

    Polls instead of waiting in one statement: an index that the other process builds concurrently would wait
    for that statement's transaction, and neither would ever finish.
    """
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
        connection.commit()
        time.sleep(_PAUSE_SECONDS)
    connection.commit()


def _run() -> None:
    with _engine().connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        driver = connection.connection.driver_connection
        if isinstance(driver, PatientConnection):
            driver.patience = None
        connection.execute(text("SET lock_timeout = '5s'"))
        _wait_for_turn(connection)
        try:
            context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
            with context.begin_transaction():
                context.run_migrations()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            connection.commit()


_run()
