"""The runtime of a command that needs the catalogue, the provider or Redis, and not only the database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from cli.connections import servers
from runtime import installation
from runtime.wiring import Runtime, build

_NO_OUTPUT: Final = logging.NullHandler()


@contextmanager
def command_runtime(application: str, *, pool_size: int = 2) -> Iterator[Runtime]:
    """The runtime for a command. Log messages of the services are dropped, because the command itself prints
    what they did.

    Raises `SettingsError` as `cli.connections.servers` does, and if the database belongs to another mode or
    business. Raises `CatalogError` if the catalogue has mistakes.
    """
    logging.getLogger("services").addHandler(_NO_OUTPUT)
    with (
        servers() as settings,
        closing(build(settings, pool_size=pool_size, application=application)) as built,
    ):
        installation.check(built.sessions, settings)
        yield built
