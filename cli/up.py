"""`seatsync up`: the whole service on one machine."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

import click
import requests

from cli.fleet import commands
from cli.run import migrate_to_head
from runtime.logs import configure
from runtime.processes import Supervisor
from runtime.servers import watched_servers
from runtime.settings import Settings
from runtime.wiring import read_catalog
from seats.errors import SettingsError

_START_SECONDS = 60.0


@click.command()
def up() -> None:
    """Start everything: servers (unless given), web, worker, beat and sweeper. Ctrl-C ends it."""
    settings = Settings.from_env()
    read_catalog(settings)  # its mistakes should be told before anything is started
    check_port(settings.port)
    configure(logging.WARNING)
    with watched_servers(settings) as running:
        migrate_to_head(running)
        when_ready(running.port, lambda: click.echo(f"seatsync is ready on http://127.0.0.1:{running.port}"))
        Supervisor(commands(running)).run()


def check_port(port: int) -> None:
    """Raises `SettingsError` if somebody else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"Port {port} is taken ({error.strerror}). Set PORT to a free one, for example PORT=8001."
            ) from None


def when_ready(port: int, tell: Callable[[], None]) -> None:
    """Call `tell` from another thread as soon as the web process answers."""
    threading.Thread(target=_await_web, args=(port, tell), daemon=True).start()


def _await_web(port: int, tell: Callable[[], None]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if is_ready(port):
            return tell()
        time.sleep(0.1)
    return None


def is_ready(port: int) -> bool:
    """Whether a web process answers there and has its database."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy lies between a machine and itself
        try:
            return session.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == HTTPStatus.OK
        except requests.RequestException:
            return False
