"""The command `seatsync demo`, which `make run` runs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

import click

from cli.connections import name_unknown_variables
from cli.demo.runner import run
from cli.demo.sandbox import Sandbox, sandbox


@click.command()
def demo() -> None:
    """Start everything with a simulated business and show how seats change. Ctrl-C ends it."""
    name_unknown_variables()
    with _one_interrupt(), sandbox(os.environ) as started:
        with contextlib.suppress(KeyboardInterrupt):
            run(started)
        click.echo(farewell(started))


def farewell(ended: Sandbox) -> str:
    """The text at the end of a demo: API calls that work again in the next demo."""
    return (
        "\nThe demo has ended.\n"
        f"Next time, while it runs on {ended.url}, call its API with the key {ended.examples.key}:\n\n"
        f"{ended.examples.text()}"
    )


@contextlib.contextmanager
def _one_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on the first SIGINT, SIGTERM or SIGHUP, and ignore the signals after it."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup
        signals.append(signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in signals}
    try:
        yield
    finally:
        if (
            signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        ):  # after an interrupt they stay ignored until the process ends
            for each, handler in before.items():
                signal.signal(each, handler)
