"""The base of all tables: naming convention of constraints, time-zone-aware times, JSONB columns."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CursorResult,
    DateTime,
    Executable,
    MetaData,
    Text,
    any_,
    column,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session, mapped_column

# PostgreSQL jsonb. The comment at each column describes its content.
Json = dict[str, Any]

Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Written = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Counter = Annotated[int, mapped_column(BigInteger, server_default="0")]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it as a plain dict
        str: Text,
        datetime: DateTime(timezone=True),
        Json: JSONB(none_as_null=True),
    }


def affected(session: Session, statement: Executable) -> int:
    """Execute a writing statement and return how many rows it wrote. Loaded objects are not updated."""
    # Without `preserve_rowcount`, the row count of an INSERT may be -1.
    options = {"synchronize_session": False, "preserve_rowcount": True}
    result = cast("CursorResult[Any]", session.execute(statement, execution_options=options))
    assert result.rowcount >= 0
    return result.rowcount


def delete_slice(
    session: Session,
    condition: ColumnElement[bool],
    *,
    oldest_by: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None],
    limit: int,
) -> int:
    """Delete at most `limit` rows that meet the condition, those first whose time `oldest_by` is earliest.

    Returns how many. That column's table is the one deleted from; an index on it makes this cheap.
    """
    # By the place of the rows, found once; the planner may run a subquery of IN again for every row.
    place: ColumnElement[str] = column("ctid")
    table = oldest_by.class_
    oldest = select(place).select_from(table).where(condition).order_by(oldest_by).limit(limit)
    return affected(session, delete(table).where(place == any_(func.array(oldest.scalar_subquery()))))
