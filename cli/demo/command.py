"""The command `seatsync demo`, which is what `make run` runs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

import click

from cli.connections import name_unknown_variables
from cli.demo.runner import play
from cli.demo.sandbox import Sandbox, sandbox


@click.command()
def demo() -> None:
    """Start everything with a simulated business and watch seats move. Ctrl-C ends it."""
    name_unknown_variables()
    with _one_interrupt(), sandbox(os.environ) as here:
        with contextlib.suppress(KeyboardInterrupt):
            play(here)
        click.echo(farewell(here))


def farewell(here: Sandbox) -> str:
    """What to do next, with calls that work again in the next demo."""
    return (
        "\nThe demo has ended.\n"
        f"Next time, while it runs on {here.url}, call its API with the key {here.examples.key}:\n\n"
        f"{here.examples.text()}"
    )


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """The first SIGINT or SIGTERM interrupts; the next ones find that everything is ending already."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
        signals.append(signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in signals}
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # once ignored, they are until we are gone
            for each, handler in before.items():
                signal.signal(each, handler)
