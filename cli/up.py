"""`seatsync up`: the whole service on one machine."""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus

import click
import requests

from cli.connections import name_embedded_database, read_settings
from cli.migrate import migrate_to_head
from cli.service_processes import commands
from domain.errors import SettingsError
from runtime.logs import configure
from runtime.servers import watched_servers
from runtime.settings import Settings
from runtime.supervisor import OnLine, Supervisor, prefixed
from runtime.waiting import wait_until
from runtime.wiring import read_catalog

_START_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
_CELERY_HINT = "worker: Hitting Ctrl+C again"


@click.command()
def up() -> None:
    """Start everything: servers (unless given), web, worker, beat and sweeper. Ctrl-C ends it."""
    settings = read_settings()
    read_catalog(settings)  # its mistakes should be told before anything is started
    check_port(settings)
    configure(logging.WARNING)
    with watched_servers(settings) as running:
        name_embedded_database(settings)
        migrate_to_head(running)
        when_ready(running.local_url, lambda: click.echo(f"seatsync is ready on {running.local_url}"))
        processes = commands(running)
        Supervisor(processes, on_line=without_hints(prefixed(sys.stdout, processes))).run()


def without_hints(write: OnLine) -> OnLine:
    """Passes lines on, without Celery's hint to press Ctrl-C again: it would end everything at once, and the
    worker never sees it.
    """

    def write_unless_hint(name: str, line: str) -> None:
        if line.strip() and not line.startswith(_CELERY_HINT):
            write(name, line)

    return write_unless_hint


def check_port(settings: Settings) -> None:
    """Raises `SettingsError` if the web process could not listen on its address and port."""
    host = settings.bind.removeprefix("[").removesuffix("]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise SettingsError(
                    f"SEATSYNC_BIND: {settings.bind} is not an address of this machine."
                ) from None
            raise SettingsError(
                f"Port {settings.port} is taken ({error.strerror}). Set PORT to a free one, for example "
                "PORT=8001."
            ) from None


def when_ready(url: str, tell: Callable[[], None]) -> None:
    """Call `tell` from another thread as soon as the web process answers."""
    threading.Thread(target=_await_web, args=(url, tell), daemon=True).start()


def _await_web(url: str, tell: Callable[[], None]) -> None:
    if wait_until(lambda: is_ready(url), seconds=_START_SECONDS, pause=_PAUSE_SECONDS):
        tell()


def is_ready(url: str) -> bool:
    """Whether a web process answers there and has its database."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy lies between a machine and itself
        try:
            return session.get(f"{url}/readyz", timeout=2).status_code == HTTPStatus.OK
        except requests.RequestException:
            return False
