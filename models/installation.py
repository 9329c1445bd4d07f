"""The installation: one row with this database's id, the provider mode and business its data comes from, and
the secret that signs the account into checkouts.

The id prefixes all our keys in Redis and queue names at the broker. So two installations that share a Redis
never use each other's cache entries, wake-ups or request counts.
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
    """A single row, created by the migration that creates the table."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("is_only", name="one_row"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=sql("true"))
    id: Mapped[UUID] = mapped_column(server_default=sql("gen_random_uuid()"))
    # Created when first needed.
    checkout_secret: Mapped[bytes | None]
    # The provider mode and business that the data comes from; NULL until a process has set them.
    environment: Mapped[str | None]
    business_id: Mapped[str | None]


_ADD = sql("INSERT INTO installation DEFAULT VALUES ON CONFLICT DO NOTHING")
# A copy of a database on the same server has the same id but another oid.
_READ = sql(
    """
    SELECT replace(installation.id::text, '-', '') || '-' || pg_database.oid
    FROM installation, pg_database WHERE datname = current_database()
    """
)


def read_id(session: Session) -> str:
    """The id of this database, made of letters, digits and hyphens. Created if there is none."""
    if (found := session.scalar(_READ)) is None:
        session.execute(_ADD)
        found = session.scalar(_READ)
    return str(found)


def current(session: Session) -> Installation:
    """The row, locked. Created if there is none."""
    session.execute(_ADD)
    return session.scalars(select(Installation).with_for_update()).one()


def checkout_secret(session: Session) -> bytes:
    """The secret that signs the account's id into a checkout. Created if there is none."""
    found: bytes | None = session.scalar(select(Installation.checkout_secret))
    if found is not None:
        return found
    row = current(session)
    secret = row.checkout_secret or secrets.token_bytes(_SECRET_BYTES)
    row.checkout_secret = secret
    session.flush()
    return secret


class Namespace:
    """The prefix of this installation's names in Redis and at the broker, `seatsync:ID:`.

    Read from the database at the first call and cached. Safe for threads and across a fork.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions: Final = sessions
        self._prefix: str | None = None

    def __call__(self) -> str:
        """The prefix. Raises `NamespaceUnknown` if the database cannot be read at the first call."""
        if self._prefix is None:
            try:
                with self._sessions.begin() as session:
                    self._prefix = f"seatsync:{read_id(session)}:"
            except SQLAlchemyError as error:
                raise NamespaceUnknown(
                    f"The database could not be read ({type(error).__name__}). Check that DATABASE_URL is "
                    "correct, that the database is running, and that `seatsync migrate` has been run."
                ) from error
        return self._prefix
