"""The schema's history. `upgrade` brings a database to its newest revision."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

_HERE = Path(__file__).parent

# One migration at a time, whoever starts it; any number will do, as long as nobody else uses it.
LOCK = 7_365_617_401


def config(engine: Engine) -> Config:
    """An Alembic configuration for this folder that uses the engine's connections."""
    made = Config()
    made.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    made.attributes["engine"] = engine
    return made


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to `revision`; safe to run twice and from several machines at once."""
    command.upgrade(config(engine), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema back to `revision`."""
    command.downgrade(config(engine), revision)


def newest() -> str | None:
    """The newest revision of this release."""
    return ScriptDirectory(str(_HERE)).get_current_head()


def revision_of(engine: Engine) -> str | None:
    """The revision the database is at; None if it has no schema yet."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
