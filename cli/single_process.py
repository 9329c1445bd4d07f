"""The commands `seatsync web`, `worker` and `beat`: one process each, for a process manager.

Each command replaces itself with the program, so the program gets all signals. It does not read the settings,
because the program reads and checks them again, and reading them takes time.
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
    _replace_process(process_arguments.web(bind, port))


@click.command()
@click.option("--only-syncs", is_flag=True, help="Only sync subscriptions. Always free for the next webhook.")
def worker(*, only_syncs: bool) -> None:
    """Sync subscriptions, send notices and settle seat changes: a Celery worker."""
    _replace_process(process_arguments.worker(only_syncs=only_syncs))


@click.command()
def beat() -> None:
    """Start periodic tasks: Celery beat."""
    _replace_process(process_arguments.beat())


def _replace_process(argv: list[str]) -> NoReturn:
    os.execve(argv[0], argv, {**os.environ, **process_arguments.ENVIRONMENT})  # noqa: S606
