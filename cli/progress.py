"""How far a long command is: bars where somebody looks on, else a line now and then. Both on stderr."""

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

_SAY_AGAIN_AFTER: Final = 60.0  # seconds
_A_LOT: Final = 1000


class Show(Protocol):
    """Whoever shows it."""

    def step(self, what: str, done: int, total: int | None) -> None:
        """So many of a step are done, of `total` if that is known."""
        ...

    def waits(self, reason: str) -> None:
        """Nothing moves, for this reason."""
        ...


@contextmanager
def shown(*, in_bytes: bool = False) -> Iterator[Show]:
    """Bars on a terminal, lines elsewhere. With `in_bytes` the numbers of a step are bytes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(in_bytes=in_bytes)
        return
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


class _Reasons:
    """The same reason is given once a minute."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def is_news(self, reason: str) -> bool:
        now = time.monotonic()
        if now < self._told.get(reason, 0.0):
            return False
        self._told[reason] = now + _SAY_AGAIN_AFTER
        return True


class _Lines:
    """A line at every tenth; where the total is not known, at every thousand. Nobody counts bytes."""

    def __init__(self, *, in_bytes: bool) -> None:
        self._in_bytes = in_bytes
        self._reasons = _Reasons()
        self._told: dict[str, int] = {}

    def step(self, what: str, done: int, total: int | None) -> None:
        reached = done // _A_LOT if total is None else min(done * 10 // max(total, 1), 10)
        if reached > self._told.get(what, 0):
            self._told[what] = reached
            if total is None:
                click.echo(f"{what}: {done}", err=True)
            else:
                click.echo(f"{what}: {reached}0 %{'' if self._in_bytes else f' of {total}'}", err=True)

    def waits(self, reason: str) -> None:
        if self._reasons.is_news(reason):
            click.echo(f"waiting: {reason}", err=True)


class _Bars:
    """One bar per step."""

    def __init__(self, progress: Progress) -> None:
        self._reasons = _Reasons()
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def step(self, what: str, done: int, total: int | None) -> None:
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=total, completed=done)
        self._progress.update(self._bars[what], completed=done, total=total)

    def waits(self, reason: str) -> None:
        if self._reasons.is_news(reason):
            self._progress.console.print(f"waiting: {reason}", markup=False, highlight=False)
