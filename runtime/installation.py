"""One database belongs to one mode and one business: a process that is set to another does not start."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Final

from sqlalchemy import Connection, event, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from domain.errors import ForeignDatabase
from models.database import Sessions
from models.installation import Installation, current
from runtime.settings import Settings

_ADVICE: Final = (
    "Counts of one would be taken for the other's. Point DATABASE_URL to another database, or correct the "
    "variable. If the database is to belong to the new settings for good, run `seatsync migrate --reassign`."
)

_SIDES: Final = select(Installation.environment, Installation.business_id)


def claim(sessions: Sessions, settings: Settings) -> None:
    """Check the database, for a process that works on it; from now on it belongs to this mode and business.

    Raises `ForeignDatabase`. One that is away is checked in the first transaction of `sessions` that reaches
    it: all of them raise the same then, and nothing is written.
    """
    try:
        with sessions.begin() as session:
            claim_in(session, settings)
    except SQLAlchemyError:
        _check_later(sessions, settings)


def _check_later(sessions: Sessions, settings: Settings) -> None:
    is_ours = False

    def check_first(_session: Session, _transaction: object, connection: Connection) -> None:
        nonlocal is_ours
        if is_ours:
            return
        is_autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        try:
            with nullcontext() if is_autocommit else connection.begin_nested():
                check_in(connection, settings)
        except SQLAlchemyError:  # not migrated yet, or away again
            return
        is_ours = True

    event.listen(sessions, "after_begin", check_first)


def claim_in(session: Session, settings: Settings) -> None:
    """The same in a transaction of the caller's."""
    found = current(session)
    _compare(found.environment, found.business_id, settings)
    found.environment = settings.environment
    found.business_id = settings.business_id or found.business_id


def check(sessions: Sessions, settings: Settings) -> None:
    """The same for a command, which writes nothing down."""
    try:
        with sessions() as session:
            check_in(session, settings)
    except SQLAlchemyError:
        return


def check_in(session: Session | Connection, settings: Settings) -> None:
    """The same in a transaction of the caller's."""
    found = session.execute(_SIDES).one_or_none()
    if found is not None:
        _compare(found.environment, found.business_id, settings)


def reassign(session: Session, settings: Settings) -> None:
    """Let the database belong to this mode and business, whatever it did before."""
    found = current(session)
    found.environment, found.business_id = settings.environment, settings.business_id


def _compare(environment: str | None, business_id: str | None, settings: Settings) -> None:
    sides = (
        ("DODO_PAYMENTS_ENVIRONMENT", environment, settings.environment),
        ("DODO_PAYMENTS_BUSINESS_ID", business_id, settings.business_id),
    )
    for variable, theirs, ours in sides:
        if theirs is not None and ours is not None and theirs != ours:
            raise ForeignDatabase(f"The database belongs to {theirs}, and {variable} is {ours}. {_ADVICE}")
