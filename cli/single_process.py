"""`seatsync web`, `seatsync worker` and `seatsync beat`: one process each, for a process manager.

The command replaces itself with the program, which therefore gets every signal. It imports no settings, which
would double the start-up work: the program reads and checks them.
"""

from __future__ import annotations

import os
from typing import NoReturn

import click

from cli import process_arguments


@click.command()
def web() -> None:
    """Receive webhooks and serve the API: gunicorn on SEATSYNC_BIND and PORT."""
    bind, port = os.environ.get("SEATSYNC_BIND") or "127.0.0.1", os.environ.get("PORT") or "8000"
    _become(process_arguments.web(bind, port))


@click.command()
def worker() -> None:
    """Sync subscriptions, send notices and settle seat changes: a Celery worker."""
    _become(process_arguments.worker())


@click.command()
def beat() -> None:
    """Start periodic work: Celery's timer."""
    _become(process_arguments.beat())


def _become(argv: list[str]) -> NoReturn:
    os.execve(argv[0], argv, {**os.environ, **process_arguments.ENVIRONMENT})  # noqa: S606
