"""`seatsync up`: the whole service on one machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

import click
import requests

from cli.fleet import commands
from cli.run import migrate_to_head
from runtime.processes import Supervisor
from runtime.servers import running_servers
from runtime.settings import Settings
from runtime.wiring import build
from seats.errors import SettingsError

_START_SECONDS = 60.0


@click.command()
def up() -> None:
    """Start everything: servers (unless given), web, worker, beat and sweeper. Ctrl-C ends it."""
    settings = Settings.from_env()
    check_port(settings.port)
    with running_servers(settings) as running:
        build(running).close()  # a catalogue with mistakes should be told before anything is started
        migrate_to_head(running)
        when_ready(running.port, lambda: click.echo(f"seatsync is ready on http://127.0.0.1:{running.port}"))
        Supervisor(commands(running)).run()


@click.command()
def demo() -> None:
    """Start everything with a simulated business and watch seats move."""
    raise NotImplementedError


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
        try:
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == HTTPStatus.OK:
                return tell()
        except requests.RequestException:
            pass
        time.sleep(0.1)
    return None
