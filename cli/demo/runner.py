"""Plays the demo: servers and processes, the app beside them, and somebody who watches."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TextIO

import click
from rich.console import Console

from cli.demo.api_client import Api
from cli.demo.app_backend import Backend
from cli.demo.live_view import About
from cli.demo.plain_view import PlainView
from cli.demo.process_log import ProcessLog
from cli.demo.processes import BackgroundThread, DemoProcesses, IsOver
from cli.demo.sandbox import Sandbox
from cli.demo.screen import Screen
from cli.demo.view import Action, Display, Tone
from cli.demo.watcher import Watcher
from cli.migrate import migrate_to_head
from cli.service_processes import commands
from cli.up import check_port, is_ready
from runtime.embedded.shared_state import write_private
from runtime.settings import Settings
from runtime.supervisor import Command, KeepsEnding
from runtime.wiring import build

# Nothing is lost with a demo, so nobody has to wait long for an orderly end.
_GRACE: Final = 4.0
_JOIN: Final = 5.0
_TICK: Final = 0.1


def play(here: Sandbox) -> None:
    """Run the demo until a signal ends it; raises KeepsEnding if one of its processes does just that."""
    settings = Settings.from_env(here.environment)
    check_port(settings)
    if here.left_alone:
        click.echo(f"The demo has servers and a provider of its own: {', '.join(here.left_alone)} not used")
    click.echo(f"Starting PostgreSQL and Redis, with their data in {here.near}")
    with here.servers() as (database_url, redis_url), here.log.open("w", encoding="utf-8") as log:
        running = settings.with_servers(database_url=database_url, redis_url=redis_url)
        build(running).close()  # a catalogue with mistakes should be told before anything is started
        migrate_to_head(running)
        click.echo(
            f"Starting web, worker, beat, sweeper and a simulated business; logs: {here.near / here.log.name}"
        )
        _perform(here, [*commands(running, here.environment), here.simulator], log)


def _perform(here: Sandbox, processes: Sequence[Command], log: TextIO) -> None:
    key = here.environment["SEATSYNC_API_KEY"]
    watcher = Watcher(Api(here.url, key), _show(here))
    app = Backend(Api(here.url, key), watcher.tell, random.Random())  # noqa: S311  chance is all it is
    logbook = ProcessLog(log, lambda note: watcher.tell(Action(datetime.now(UTC), Tone.TROUBLE, note)))
    fleet = DemoProcesses(processes, on_line=logbook, grace=_GRACE)

    def watch(is_over: IsOver) -> None:
        if _await_web(here, is_over):
            watcher.run(is_over)
        click.echo("Ending everything that was started ...")

    companions = [BackgroundThread(watch, fleet), BackgroundThread(app.run, fleet)]
    for companion in companions:
        companion.start()
    try:
        fleet.run()
    except KeepsEnding as failure:
        name, _, _ = failure.message.partition(" ")
        raise KeepsEnding(
            f"{failure.message}. Its last lines:\n{logbook.last_lines(name)}\nAll of them are in {here.log}"
        ) from None
    finally:
        fleet.is_ending = True  # a signal that came too early for the fleet may have brought us here
        _ignore_interrupts()
        for companion in companions:
            companion.join(_JOIN)
    for companion in companions:
        companion.raise_fault()


def _await_web(here: Sandbox, is_over: IsOver) -> bool:
    """Wait for the web process, then tell that it is ready; False if it is over before that."""
    while not is_ready(here.url):
        if is_over():
            return False
        time.sleep(_TICK)
    write_private(here.examples_file, f"{here.examples.text()}\n")
    click.echo(f"seatsync is ready on {here.url}")
    return True


def _show(here: Sandbox) -> Display:
    """The live view for people; lines for files, pipes and terminals that cannot move their cursor."""
    console = Console()
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        return PlainView(f"While it runs, call its API:\n\n{here.examples.text()}\n")
    about = About(
        url=here.url,
        curl=here.examples.seats,
        short_curl=here.examples.accounts,
        more=f"More calls and all logs: {here.examples_file.name}, {here.log.name} in {here.near}",
    )
    return Screen(console, about)


def _ignore_interrupts() -> None:
    """The end has begun, and takes a second or two; impatience would only leave it unfinished."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
