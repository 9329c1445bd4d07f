"""The installation: this database's own id, under which all its names at Redis and at the broker lie; the
mode and the business its data belongs to; and the secret by which checkouts prove the account they name.

A cache entry, a wake-up or a request count of another database is thus never taken for one of ours, even if
both use the same Redis.
"""

from __future__ import annotations

import secrets
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, select
from sqlalchemy import text as sql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from domain.errors import NamespaceUnknown
from models.base import Base
from models.database import Sessions

_SECRET_BYTES: Final = 32


class Installation(Base):
    """One row, made by the migration that made the table."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("is_only", name="one_row"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=sql("true"))
    id: Mapped[UUID] = mapped_column(server_default=sql("gen_random_uuid()"))
    # Made when it is first needed.
    checkout_secret: Mapped[bytes | None]
    # The provider's mode and business that the data comes from; NULL until a process has said so.
    environment: Mapped[str | None]
    business_id: Mapped[str | None]


_ADD = sql("INSERT INTO installation DEFAULT VALUES ON CONFLICT DO NOTHING")
# A database that was copied within its server has the id of its original, but another number.
_READ = sql(
    """
    SELECT replace(installation.id::text, '-', '') || '-' || pg_database.oid
    FROM installation, pg_database WHERE datname = current_database()
    """
)


def read_id(session: Session) -> str:
    """The database's id, of letters, digits and hyphens; a database without one is given one."""
    if (found := session.scalar(_READ)) is None:
        session.execute(_ADD)
        found = session.scalar(_READ)
    return str(found)


def current(session: Session) -> Installation:
    """The one row, for an update."""
    session.execute(_ADD)
    return session.scalars(select(Installation).with_for_update()).one()


def checkout_secret(session: Session) -> bytes:
    """The secret by which a checkout proves the account that it names; made if there is none."""
    found: bytes | None = session.scalar(select(Installation.checkout_secret))
    if found is not None:
        return found
    row = current(session)
    secret = row.checkout_secret or secrets.token_bytes(_SECRET_BYTES)
    row.checkout_secret = secret
    session.flush()
    return secret


class Namespace:
    """The prefix of this service's names outside the database, `seatsync:ID:`.

    Read at the first call and kept, so that connections stay lazy; safe for threads and across a fork.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions: Final = sessions
        self._prefix: str | None = None

    def __call__(self) -> str:
        """The prefix; raises `NamespaceUnknown` until the database was read once."""
        if self._prefix is None:
            try:
                with self._sessions.begin() as session:
                    self._prefix = f"seatsync:{read_id(session)}:"
            except SQLAlchemyError as error:
                raise NamespaceUnknown(
                    f"The database's id could not be read ({type(error).__name__}): see that DATABASE_URL is "
                    "right, that the database runs, and that `seatsync migrate` has run."
                ) from error
        return self._prefix
