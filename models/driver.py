"""Statements sent directly through the driver, for claims and other hot paths.

For a short statement, SQLAlchemy's overhead is as large as the statement itself, and concurrent claims wait
for the same row lock. The engine's connections and error types are still used; only statement compilation
and result processing are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models.base import Json

Row = tuple[Any, ...]
Driver = psycopg.Connection[Row]


def first_row(session: Session, statement: str, parameters: Mapping[str, object]) -> Row | None:
    """The first row of the statement's result, in the session's transaction; None if there is no row.

    `statement` uses the driver's placeholders, `%(name)s`. Raises the same errors as `session.execute`.
    """
    return _execute(session, statement, parameters).fetchone()


def all_rows(session: Session, statement: str, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Every row of the statement's result; otherwise like `first_row`."""
    return _execute(session, statement, parameters).fetchall()


def count_rows(session: Session, statement: str, parameters: Mapping[str, object]) -> int:
    """How many rows a statement without a result changed; otherwise like `first_row`."""
    return _execute(session, statement, parameters).rowcount


def _execute(session: Session, statement: str, parameters: Mapping[str, object]) -> psycopg.Cursor[Row]:
    connection = session.connection()
    driver = cast("Driver", connection.connection.driver_connection)
    try:
        return driver.execute(statement, parameters)
    except psycopg.Error as error:
        raise _sqlalchemy_error(error, connection.engine, statement, driver) from None
    except BaseException:
        # A signal interrupted the statement. Its result is still outstanding, so the connection is unusable.
        connection.invalidate()
        raise


def committed_first_row(engine: Engine, statement: str, parameters: Mapping[str, object]) -> Row | None:
    """The first row of the statement's result, which is committed; None if there is no row.

    Takes one round trip, where a session needs three. Raises the same errors as `Engine.begin` and `execute`.
    """
    try:
        pooled = engine.raw_connection()
    except psycopg.Error as error:
        raise _sqlalchemy_error(error, engine, statement) from None
    driver = cast("Driver", pooled.driver_connection)
    try:
        driver.autocommit = True
        row = driver.execute(statement, parameters).fetchone()
        driver.autocommit = False  # as the pool expects it
    except psycopg.Error as error:
        pooled.invalidate()
        raise _sqlalchemy_error(error, engine, statement, driver) from None
    except BaseException:  # a signal, as above
        pooled.invalidate()
        raise
    pooled.close()
    return row


def _sqlalchemy_error(
    error: psycopg.Error, engine: Engine, statement: str, driver: Driver | None = None
) -> Exception:
    """The error as SQLAlchemy raises it, without the parameters. If the connection `driver` was lost, the
    pooled connections are closed too: they are to the same server.
    """
    is_lost = driver is not None and driver.closed
    if is_lost:
        engine.dispose()
    return DBAPIError.instance(
        statement,
        None,
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=is_lost,
        dialect=engine.dialect,
    )


def jsonb(value: Json | None) -> Jsonb | None:
    """The value as a statement parameter. None becomes SQL NULL, not JSON null."""
    return None if value is None else Jsonb(value)
