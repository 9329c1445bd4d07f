"""What `seatsync sync --all` and `seatsync backfill` share: the whole business, while somebody looks on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import click

from cli.progress import Show, shown
from domain.errors import BudgetSpent, KeyRefused, ProviderError, SeatSyncError, TransientError
from domain.wording import counted
from runtime.wiring import Runtime
from services.sync import progress as awaited
from services.sync.full_sync import Progress, full_sync

T = TypeVar("T")

_LISTING: Final = "reading the list"
_LOOKING: Final = "looking at subscriptions"
_SHOWN: Final = 20
_PAUSE: Final = 1.0  # seconds, where the provider does not say how long


class CannotGoOn(SeatSyncError):
    """The command cannot do, or not finish, what it was asked for."""

    code = "cannot_go_on"


def sync_everything(runtime: Runtime, *, everything: bool, patience: float) -> bool:
    """Carry a full sync out and show how far it is; whether it came to its end.

    Raises `CannotGoOn` where the provider cannot be asked at all.
    """
    progress, is_interrupted = Progress(listed=0), False
    with runtime.sessions() as session:
        expected = awaited.listed_before(session, runtime.provider.name)
    try:
        with shown() as show:
            _greet(runtime, show)
            watch = _Watch(show, expected)
            for progress in full_sync(runtime, everything=everything, patience=patience):
                watch.see(progress)
    except KeyboardInterrupt:
        is_interrupted = True
    if not progress.is_done:
        _tell_stopped(progress, "Interrupted." if is_interrupted else progress.waits_for or "Nothing moves.")
    return progress.is_done


def patiently(ask: Callable[[], T], show: Show, patience: float) -> T:
    """The provider's answer. A spent budget is waited out; a failing provider for `patience` seconds, and
    one that refuses the key not at all. Raises the last `TransientError`.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return ask()
        except BudgetSpent as spent:
            show.waits(spent.message)
            until = time.monotonic() + patience
            time.sleep(spent.retry_after or _PAUSE)
        except KeyRefused:
            raise
        except TransientError as error:
            if time.monotonic() >= until:
                raise
            show.waits(error.message)
            time.sleep(min(error.retry_after or _PAUSE, patience))


def tell_failed(runtime: Runtime) -> bool:
    """Which subscriptions could not be looked at, and why; whether there are any."""
    with runtime.sessions() as session:
        failed = awaited.failed(session, limit=_SHOWN + 1)
    for one in failed[:_SHOWN]:
        what = "given up on" if one.is_dead else "still waits"
        click.echo(f"{what}: {one.subscription_id}: {one.reason}")
    if len(failed) > _SHOWN:
        click.echo("... and more")
    return bool(failed)


@dataclass(slots=True)
class _Watch:
    """Shows how far a full sync is. `expected` is how long the list was before, if there was one."""

    show: Show
    expected: int | None
    most: int = 0

    def see(self, progress: Progress) -> None:
        """Some may come to wait meanwhile: the bar is as long as there ever were."""
        self.most = max(self.most, progress.left)
        if progress.is_listed:
            self.show.step(_LISTING, progress.listed, progress.listed)
            if self.most:
                self.show.step(_LOOKING, self.most - progress.left, self.most)
        else:
            self.show.step(_LISTING, progress.listed, self.expected)
        if progress.waits_for:
            self.show.waits(progress.waits_for)


def _greet(runtime: Runtime, show: Show) -> None:
    """Find out before anything is begun whether the provider answers, and takes the key."""
    try:
        takes_the_key = patiently(runtime.provider.may_read, show, 0)
    except ProviderError as error:
        raise CannotGoOn(
            f"{error.message} Nothing was begun: try again later; `seatsync doctor` looks closer."
        ) from None
    if not takes_the_key:
        raise CannotGoOn(
            "The provider refuses the API key: see that DODO_PAYMENTS_API_KEY and DODO_PAYMENTS_ENVIRONMENT "
            "belong together; `seatsync doctor` looks closer."
        )


def _tell_stopped(progress: Progress, reason: str) -> None:
    where = (
        counted(progress.left, "look is left", "looks are left")
        if progress.is_listed
        else "The list is not read to its end"
    )
    click.echo(
        f"{reason} {where}. What was asked for stays asked for: the workers go on with it, and so does this "
        "command when it is started again.",
        err=True,
    )
