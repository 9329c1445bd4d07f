"""Schema revisions: the one that this release needs, and the one that the database has."""

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

_REVISION_LINES: Final = re.compile(r'^(revision|down_revision) = "(\w+)"', re.MULTILINE)


@cache
def _history() -> Mapping[str, str | None]:
    """Each revision of this release with its predecessor, read from the text of the migrations: importing
    them would import Alembic, which takes a second.
    """
    spec = find_spec("migrations")
    assert spec is not None
    assert spec.origin is not None
    files = (Path(spec.origin).parent / "versions").glob("*.py")
    revisions = (dict(_REVISION_LINES.findall(path.read_text())) for path in files)
    return {lines["revision"]: lines.get("down_revision") for lines in revisions}


def newest() -> str:
    """The newest revision of this release."""
    (head,) = _history().keys() - set(_history().values())
    return head


def revision_of(session: Session) -> str | None:
    """The revision of the database; None if it has no schema yet."""
    if session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def is_behind(revision: str | None) -> bool:
    """True if a database of that revision must be migrated for this release. An unknown revision belongs to a
    newer release, so it is not behind.
    """
    return revision is None or (revision in _history() and revision != newest())


def require(sessions: Sessions) -> None:
    """Raise `SettingsError` if the database must be migrated first. Does nothing if it cannot be reached."""
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
