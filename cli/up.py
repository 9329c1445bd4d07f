"""The command `seatsync up`: run the whole service on one machine."""

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
    """Start web, worker, beat and sweeper, and PostgreSQL and Redis unless their URLs are set. Ctrl-C ends
    it.
    """
    settings = read_settings()
    read_catalog(settings)  # report mistakes in the catalogue before anything is started
    check_port(settings)
    configure(logging.WARNING)
    with watched_servers(settings) as running:
        name_embedded_database(settings)
        migrate_to_head(running)
        when_ready(running.local_url, lambda: click.echo(f"seatsync is ready on {running.local_url}"))
        processes = commands(running)
        Supervisor(processes, on_line=without_hints(prefixed(sys.stdout, processes))).run()


def without_hints(write: OnLine) -> OnLine:
    """Wrap `write` so that it drops empty lines and Celery's hint to press Ctrl-C again, which does not apply
    here.
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
                f"Port {settings.port} is in use ({error.strerror}). Set PORT to a free port, for example "
                "PORT=8001."
            ) from None


def when_ready(url: str, call: Callable[[], None]) -> None:
    """Call `call` from another thread as soon as the web process is ready."""
    threading.Thread(target=_await_web, args=(url, call), daemon=True).start()


def _await_web(url: str, call: Callable[[], None]) -> None:
    if wait_until(lambda: is_ready(url), seconds=_START_SECONDS, pause=_PAUSE_SECONDS):
        call()


def is_ready(url: str) -> bool:
    """True if the web process at this URL responds and can use its database."""
    with requests.Session() as session:
        session.trust_env = False  # calls to this machine must not go through a proxy
        try:
            return session.get(f"{url}/readyz", timeout=2).status_code == HTTPStatus.OK
        except requests.RequestException:
            return False
