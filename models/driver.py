"""Statements sent directly through the driver, for claims and other hot paths.

For a short statement, SQLAlchemy's overhead is as large as the statement itself, and concurrent claims wait
for the same row lock. The session's connection, transaction and error types are still used; only statement
compilation and result processing are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models.base import Json

Row = tuple[Any, ...]


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
    driver = cast("psycopg.Connection[Row]", connection.connection.driver_connection)
    try:
        return driver.execute(statement, parameters)
    except psycopg.Error as error:
        if driver.closed:  # the server is gone, so the pooled connections are broken too
            connection.engine.dispose()
        raise DBAPIError.instance(
            statement,
            None,
            error,
            psycopg.Error,
            hide_parameters=True,
            connection_invalidated=driver.closed,
            dialect=connection.dialect,
        ) from None
    except BaseException:
        # A signal interrupted the statement. Its result is still outstanding, so the connection is unusable.
        connection.invalidate()
        raise


def jsonb(value: Json | None) -> Jsonb | None:
    """The value as a statement parameter. None becomes SQL NULL, not JSON null."""
    return None if value is None else Jsonb(value)
