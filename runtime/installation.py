"""A database belongs to one mode (test or live) and one business. A process with other settings refuses to
work on it.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy import text as sql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from domain.errors import ForeignDatabase
from models.database import Sessions
from models.installation import current
from runtime.settings import Settings

_ADVICE: Final = (
    "Their seats must not be mixed. Point DATABASE_URL to another database, or correct the variable. To move "
    "the database to the new settings for good, run `seatsync migrate --reassign`."
)

_OWNER: Final = sql("SELECT environment, business_id FROM installation")


def bind(sessions: Sessions, settings: Settings) -> None:
    """Claim the database for this mode and business, at the start of a process that writes to it.

    Raises `ForeignDatabase` if it belongs to another one. If it cannot be reached, it is checked when the
    engine of `sessions` is first used; then every use raises `ForeignDatabase` instead.
    """
    try:
        with sessions.begin() as session:
            bind_in(session, settings)
    except SQLAlchemyError:
        _check_later(sessions.kw["bind"], settings)


def _check_later(engine: Engine, settings: Settings) -> None:
    is_ours = False

    def check_first(connection: psycopg.Connection[Any], _record: object, _pooled: object) -> None:
        nonlocal is_ours
        if is_ours:
            return
        try:
            with connection.transaction():
                owner = connection.execute(_OWNER.text).fetchone()
        except psycopg.Error:  # not migrated yet, or away again
            return
        if owner is not None:
            environment, business_id = owner
            _compare(environment, business_id, settings)
        is_ours = True

    event.listen(engine, "checkout", check_first)


def bind_in(session: Session, settings: Settings) -> None:
    """Like `bind`, in the caller's transaction."""
    found = current(session)
    _compare(found.environment, found.business_id, settings)
    found.environment = settings.environment
    found.business_id = settings.business_id or found.business_id


def check(sessions: Sessions, settings: Settings) -> None:
    """Raise `ForeignDatabase` if the database belongs to another mode or business. Writes nothing, and does
    nothing if the database cannot be reached.
    """
    try:
        with sessions() as session:
            check_in(session, settings)
    except SQLAlchemyError:
        return


def check_in(session: Session, settings: Settings) -> None:
    """Like `check`, in the caller's transaction."""
    found = session.execute(_OWNER).one_or_none()
    if found is not None:
        _compare(found.environment, found.business_id, settings)


def reassign(session: Session, settings: Settings) -> None:
    """Assign the database to this mode and business, whatever it belonged to before."""
    found = current(session)
    found.environment, found.business_id = settings.environment, settings.business_id


def _compare(environment: str | None, business_id: str | None, settings: Settings) -> None:
    pairs = (
        ("DODO_PAYMENTS_ENVIRONMENT", environment, settings.environment),
        ("DODO_PAYMENTS_BUSINESS_ID", business_id, settings.business_id),
    )
    for variable, stored, configured in pairs:
        if stored is not None and configured is not None and stored != configured:
            raise ForeignDatabase(
                f"The database belongs to {stored}, and {variable} is {configured}. {_ADVICE}"
            )
