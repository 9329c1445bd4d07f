"""One database belongs to one mode and one business: a process that is set to another does not start."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models.installation import Installation, current
from models.session import Sessions
from runtime.settings import Settings
from seats.errors import SettingsError

_ADVICE: Final = (
    "Counts of one would be taken for the other's. Point DATABASE_URL to another database, or correct the "
    "variable. If the database is to belong to the new settings for good, run `seatsync migrate --reassign`."
)


def claim(sessions: Sessions, settings: Settings) -> None:
    """Check the database, for a process that works on it; from now on it belongs to this mode and business.

    Raises `SettingsError`. A database that is away is waited for later, and not checked.
    """
    try:
        with sessions.begin() as session:
            claim_in(session, settings)
    except SQLAlchemyError:
        return


def claim_in(session: Session, settings: Settings) -> None:
    """The same in a transaction of the caller's."""
    found = current(session)
    _compare(found, settings)
    found.environment = settings.environment
    found.business_id = settings.business_id or found.business_id


def check(sessions: Sessions, settings: Settings) -> None:
    """The same for a command, which writes nothing down."""
    try:
        with sessions() as session:
            check_in(session, settings)
    except SQLAlchemyError:
        return


def check_in(session: Session, settings: Settings) -> None:
    """The same in a session of the caller's."""
    found = session.scalar(select(Installation))
    if found is not None:
        _compare(found, settings)


def reassign(session: Session, settings: Settings) -> None:
    """Let the database belong to this mode and business, whatever it did before."""
    found = current(session)
    found.environment, found.business_id = settings.environment, settings.business_id


def _compare(found: Installation, settings: Settings) -> None:
    sides = (
        ("DODO_PAYMENTS_ENVIRONMENT", found.environment, settings.environment),
        ("DODO_PAYMENTS_BUSINESS_ID", found.business_id, settings.business_id),
    )
    for variable, theirs, ours in sides:
        if theirs is not None and ours is not None and theirs != ours:
            raise SettingsError(f"The database belongs to {theirs}, and {variable} is {ours}. {_ADVICE}")
