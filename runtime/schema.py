"""The revision of the schema: the one this release needs, and the one the database has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from domain.errors import SettingsError
from models.database import Sessions

_STATED: Final = re.compile(r'^(revision|down_revision) = "(\w+)"', re.MULTILINE)


@cache
def _history() -> Mapping[str, str | None]:
    """Each revision of this release and the one before it, as the migrations state them. They are read and
    not imported: to import Alembic takes a second.
    """
    spec = find_spec("migrations")
    assert spec is not None
    assert spec.origin is not None
    found = (
        _STATED.findall(path.read_text()) for path in (Path(spec.origin).parent / "versions").glob("*.py")
    )
    return {stated["revision"]: stated.get("down_revision") for stated in map(dict, found)}


def newest() -> str:
    """The newest revision of this release: the one that is before no other."""
    (head,) = _history().keys() - set(_history().values())
    return head


def revision_of(session: Session) -> str | None:
    """The revision of the database; None if it has no schema yet."""
    if session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def is_behind(revision: str | None) -> bool:
    """Whether a database of that revision lacks something that this release needs. A revision that this
    release does not know is a newer one's.
    """
    return revision is None or (revision in _history() and revision != newest())


def require(sessions: Sessions) -> None:
    """Raises `SettingsError` if the database must be migrated first. One that is away is waited for later."""
    try:
        with sessions() as session:
            revision = revision_of(session)
    except SQLAlchemyError:
        return
    if is_behind(revision):
        raise SettingsError(
            f"The database's schema is at revision {revision or 'none'}, and this release needs {newest()}. "
            "Run `seatsync migrate`, then start the process again."
        )
