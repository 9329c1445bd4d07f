"""The runtime of a command that needs more than the database: catalogue, provider, Redis."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from cli.connections import servers
from runtime import installation
from runtime.wiring import Runtime, build

_SILENCE: Final = logging.NullHandler()


@contextmanager
def command_runtime(application: str, *, pool_size: int = 2) -> Iterator[Runtime]:
    """Everything that a command works with, on servers that exist. The log of the services is not shown: a
    command reports by itself what they do.

    Raises `SettingsError` like `cli.connections.servers`, or if the database belongs to another mode or
    business, and `CatalogError`.
    """
    logging.getLogger("services").addHandler(_SILENCE)
    with (
        servers() as settings,
        closing(build(settings, pool_size=pool_size, application=application)) as made,
    ):
        installation.check(made.sessions, settings)
        yield made
