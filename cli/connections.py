"""The settings and server connections of a command. It uses existing servers and never creates any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from models.database import Sessions, connect, session_factory
from runtime.servers import existing_database, existing_servers
from runtime.settings import Settings, unknown_variables


def read_settings() -> Settings:
    """The settings from the environment. Warns about unknown variables; raises `SettingsError` if a setting
    is missing or malformed.
    """
    name_unknown_variables()
    return Settings.from_env()


def name_unknown_variables() -> None:
    """Warn on standard error about variables that look like settings but are not."""
    for name, nearest in unknown_variables().items():
        hint = f"; did you mean {nearest}?" if nearest else "."
        click.echo(f"The environment variable {name} is not a setting and has no effect{hint}", err=True)


@contextmanager
def servers() -> Iterator[Settings]:
    """The settings with the URLs of the running servers. Prints which embedded database is used.

    Raises `SettingsError` if a URL is not set and no embedded server was created before.
    """
    settings = read_settings()
    with existing_servers(settings) as running:
        name_embedded_database(settings)
        yield running


@contextmanager
def database(application: str) -> Iterator[Sessions]:
    """Sessions for a command that needs only the database. Raises `SettingsError` as `servers` does."""
    settings = read_settings()
    with existing_database(settings) as url:
        name_embedded_database(settings)
        engine = connect(
            url,
            application=application,
            is_pooled=settings.is_pooled,
            is_declared_direct=settings.is_declared_direct,
        )
        try:
            yield session_factory(engine)
        finally:
            engine.dispose()


def name_embedded_database(settings: Settings) -> None:
    """Print to standard error which embedded database is used; nothing if DATABASE_URL is set."""
    if settings.database_url is None:
        folder = settings.home.resolve() / "postgres"
        click.echo(f"Using the embedded database in {folder}.", err=True)
