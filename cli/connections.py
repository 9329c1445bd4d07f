"""What a command works with: the settings, and servers that exist."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from models.database import Sessions, connect, session_factory
from runtime.servers import existing_database, existing_servers
from runtime.settings import Settings, unknown_variables


def read_settings() -> Settings:
    """The settings of the environment; raises `SettingsError`. Standard error names variables that look like
    settings and are none.
    """
    name_unknown_variables()
    return Settings.from_env()


def name_unknown_variables() -> None:
    """Write to standard error which variables begin like settings and are none."""
    for name, nearest in unknown_variables().items():
        hint = f"; did you mean {nearest}?" if nearest else "."
        click.echo(f"The environment variable {name} is not a setting and has no effect{hint}", err=True)


@contextmanager
def servers() -> Iterator[Settings]:
    """The settings with the addresses of servers that exist; an embedded database is named on standard error.

    Raises `SettingsError` if a server has no address and no embedded one was created before.
    """
    settings = read_settings()
    with existing_servers(settings) as running:
        name_embedded_database(settings)
        yield running


@contextmanager
def database(application: str) -> Iterator[Sessions]:
    """Sessions of a command that needs the database alone. Raises `SettingsError` like `servers`."""
    settings = read_settings()
    with existing_database(settings) as url:
        name_embedded_database(settings)
        engine = connect(url, application=application)
        try:
            yield session_factory(engine)
        finally:
            engine.dispose()


def name_embedded_database(settings: Settings) -> None:
    """Write to standard error which embedded database is used; nothing if DATABASE_URL is set."""
    if settings.database_url is None:
        folder = settings.home.resolve() / "postgres"
        click.echo(f"Using the embedded database in {folder}.", err=True)
