"""The database schema, step by step, with Alembic. `upgrade` migrates a database to the newest revision."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

_HERE = Path(__file__).parent

# The advisory lock under which one process at a time migrates. The number is arbitrary but must be used for
# nothing else in this database.
LOCK = 7_365_617_401


def config(engine: Engine) -> Config:
    """An Alembic configuration for this folder that uses the engine's connections."""
    made = Config()
    made.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    made.attributes["engine"] = engine
    return made


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate the schema up to `revision`. Safe to run repeatedly and from several machines at once."""
    command.upgrade(config(engine), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate the schema back to `revision`."""
    command.downgrade(config(engine), revision)


def newest() -> str | None:
    """The newest revision of this release."""
    return ScriptDirectory(str(_HERE)).get_current_head()


def revision_of(engine: Engine) -> str | None:
    """The current revision of the database; None if it has no schema yet."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
