"""Progress of long commands on standard error: bars on a terminal, otherwise lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

_REPEAT_AFTER_SECONDS: Final = 60.0
_LINE_EVERY: Final = 1000  # items, if the total is unknown


class ProgressOutput(Protocol):
    """Shows the progress of a command."""

    def step(self, title: str, done: int, total: int | None) -> None:
        """Show that `done` items of a step are done, of `total` if that is known."""
        ...

    def waiting(self, reason: str) -> None:
        """Show why there is no progress at the moment."""
        ...


@contextmanager
def progress_output(*, in_bytes: bool = False) -> Iterator[ProgressOutput]:
    """Bars on a terminal, lines elsewhere. With `in_bytes`, the numbers of a step are bytes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LineOutput(in_bytes=in_bytes)
        return
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield _BarOutput(progress)


class _ReasonFilter:
    """Shows the same reason at most once per minute."""

    def __init__(self) -> None:
        self._shown_until: dict[str, float] = {}

    def should_show(self, reason: str) -> bool:
        now = time.monotonic()
        if now < self._shown_until.get(reason, 0.0):
            return False
        self._shown_until[reason] = now + _REPEAT_AFTER_SECONDS
        return True


class _LineOutput:
    """Prints a line for every 10 %; if the total is unknown, for every thousand items.

    With `in_bytes`, the total is left out: a number of bytes tells the user nothing.
    """

    def __init__(self, *, in_bytes: bool) -> None:
        self._in_bytes = in_bytes
        self._reasons = _ReasonFilter()
        self._printed: dict[str, int] = {}

    def step(self, title: str, done: int, total: int | None) -> None:
        reached = done // _LINE_EVERY if total is None else min(done * 10 // max(total, 1), 10)
        if reached > self._printed.get(title, 0):
            self._printed[title] = reached
            if total is None:
                click.echo(f"{title}: {done}", err=True)
            else:
                click.echo(f"{title}: {reached}0 %{'' if self._in_bytes else f' of {total}'}", err=True)

    def waiting(self, reason: str) -> None:
        if self._reasons.should_show(reason):
            click.echo(f"waiting: {reason}", err=True)


class _BarOutput:
    """Draws one bar per step."""

    def __init__(self, progress: Progress) -> None:
        self._reasons = _ReasonFilter()
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def step(self, title: str, done: int, total: int | None) -> None:
        if title not in self._bars:
            self._bars[title] = self._progress.add_task(title, total=total, completed=done)
        self._progress.update(self._bars[title], completed=done, total=total)

    def waiting(self, reason: str) -> None:
        if self._reasons.should_show(reason):
            self._progress.console.print(f"waiting: {reason}", markup=False, highlight=False)
