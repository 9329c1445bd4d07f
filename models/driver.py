"""Statements sent through the driver's own cursor: for claims, where every caller waits in one row's line.

SQLAlchemy's share of a short statement costs as much as the statement. The connection, the transaction
and the kinds of errors stay SQLAlchemy's; only compiling a statement and describing its result is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models.base import Json


def first_row(session: Session, statement: str, parameters: Mapping[str, object]) -> tuple[Any, ...] | None:
    """The first row that the statement returns, within the session's transaction.

    `statement` has the driver's placeholders, `%(name)s`. Raises what the session itself would raise.
    """
    connection = session.connection()
    driver = cast("psycopg.Connection[tuple[Any, ...]]", connection.connection.driver_connection)
    try:
        return driver.execute(statement, parameters).fetchone()
    except psycopg.Error as error:
        if driver.closed:  # the server went away, and the connections that wait in the pool with it
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
        # A signal in the middle of a statement: its answer is still to come, and the connection of no use.
        connection.invalidate()
        raise


def jsonb(value: Json | None) -> Jsonb | None:
    """The value as a parameter; None is the database's NULL and not JSON's."""
    return None if value is None else Jsonb(value)
