"""Runs the demo: servers and processes, the simulated app beside them, and the display."""

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
from cli.demo.live_view import Header
from cli.demo.plain_view import PlainView
from cli.demo.process_log import ProcessLog
from cli.demo.processes import BackgroundThread, DemoProcesses, IsEnding
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

# Seconds. A demo has no data worth keeping, so its end is kept short.
_GRACE: Final = 4.0
_JOIN: Final = 5.0
_POLL: Final = 0.1


def run(demo: Sandbox) -> None:
    """Run the demo until a signal ends it. Raises `KeepsEnding` if one of its processes keeps ending."""
    settings = Settings.from_env(demo.environment)
    check_port(settings)
    if demo.ignored:
        click.echo(f"The demo uses its own servers and provider; ignored: {', '.join(demo.ignored)}")
    click.echo(f"Starting PostgreSQL and Redis, with their data in {demo.relative_folder}")
    with demo.servers() as (database_url, redis_url), demo.log.open("w", encoding="utf-8") as log:
        running = settings.with_servers(database_url=database_url, redis_url=redis_url)
        build(running).close()  # report mistakes in the catalogue before anything is started
        migrate_to_head(running)
        click.echo(
            "Starting web, worker, beat, sweeper and a simulated business; "
            f"logs: {demo.relative_folder / demo.log.name}"
        )
        _run_processes(demo, [*commands(running, demo.environment), demo.simulator], log)


def _run_processes(demo: Sandbox, started: Sequence[Command], log: TextIO) -> None:
    key = demo.environment["SEATSYNC_API_KEY"]
    watcher = Watcher(Api(demo.url, key), _display(demo))
    app = Backend(Api(demo.url, key), watcher.report, random.Random())  # noqa: S311  not for security
    process_log = ProcessLog(
        log, lambda message: watcher.report(Action(datetime.now(UTC), Tone.TROUBLE, message))
    )
    processes = DemoProcesses(started, on_line=process_log, grace=_GRACE)

    def watch(is_ending: IsEnding) -> None:
        if _await_web(demo, is_ending):
            watcher.run(is_ending)
        click.echo("Stopping everything ...")

    threads = [BackgroundThread(watch, processes), BackgroundThread(app.run, processes)]
    for thread in threads:
        thread.start()
    try:
        processes.run()
    except KeepsEnding as failure:
        name, _, _ = failure.message.partition(" ")
        raise KeepsEnding(
            f"{failure.message}. Its last lines:\n{process_log.last_lines(name)}\n"
            f"The whole log is in {demo.log}"
        ) from None
    finally:
        processes.is_ending = True  # a signal may have arrived before the processes could handle it
        _ignore_interrupts()
        for thread in threads:
            thread.join(_JOIN)
    for thread in threads:
        thread.raise_error()


def _await_web(demo: Sandbox, is_ending: IsEnding) -> bool:
    """Wait for the web process, then print its address. False if the demo ends before that."""
    while not is_ready(demo.url):
        if is_ending():
            return False
        time.sleep(_POLL)
    write_private(demo.examples_file, f"{demo.examples.text()}\n")
    click.echo(f"seatsync is ready on {demo.url}")
    return True


def _display(demo: Sandbox) -> Display:
    """The live view on a terminal; plain lines for files, pipes and terminals without cursor movement."""
    console = Console()
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        return PlainView(f"While it runs, call its API:\n\n{demo.examples.text()}\n")
    header = Header(
        url=demo.url,
        curl=demo.examples.seats,
        short_curl=demo.examples.accounts,
        more=f"More calls and all logs: {demo.examples_file.name}, {demo.log.name} in {demo.relative_folder}",
    )
    return Screen(console, header)


def _ignore_interrupts() -> None:
    """Ignore further signals: stopping takes a second or two, and must not be cut short."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
