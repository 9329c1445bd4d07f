"""Full sync of all subscriptions with progress output, for `seatsync sync --all` and `seatsync backfill`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import click

from cli.progress import ProgressOutput, progress_output
from domain.errors import SeatSyncError
from domain.provider_errors import BudgetSpent, KeyRefused, ProviderError, TransientError
from domain.wording import counted
from runtime.wiring import Runtime
from services.sync import progress as sync_progress
from services.sync.full_sync import Progress, full_sync

T = TypeVar("T")

_LISTING: Final = "reading the list"
_SYNCING: Final = "syncing subscriptions"
_SHOWN: Final = 20
_PAUSE: Final = 1.0  # seconds, if the provider does not say how long to wait


class CannotGoOn(SeatSyncError):
    """The command cannot start or cannot finish."""

    code = "cannot_go_on"


def sync_everything(runtime: Runtime, *, everything: bool, patience: float) -> bool:
    """Sync with the provider and show the progress. False if it stopped before its end.

    `everything`: sync all known subscriptions, not only those that the list shows as different. `patience`:
    seconds to wait for a failing provider. Raises `CannotGoOn` if the provider fails at the start.
    """
    progress, is_interrupted = Progress(listed=0), False
    with runtime.sessions() as session:
        expected = sync_progress.listed_before(session, runtime.provider.name)
    try:
        with progress_output() as show:
            _check_provider(runtime, show)
            display = _ProgressDisplay(show, expected)
            for progress in full_sync(runtime, everything=everything, patience=patience):
                display.update(progress)
    except KeyboardInterrupt:
        is_interrupted = True
    if not progress.is_done:
        _print_stopped(
            progress, "Interrupted." if is_interrupted else progress.waits_for or "There is no progress."
        )
    return progress.is_done


def with_retries(call: Callable[[], T], show: ProgressOutput, patience: float) -> T:
    """The result of a call to the provider, with retries: as long as the request budget is spent, and for
    `patience` seconds if the provider fails. Raises the last `TransientError`, and `KeyRefused` at once.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return call()
        except BudgetSpent as spent:
            show.waiting(spent.message)
            until = time.monotonic() + patience
            time.sleep(spent.retry_after or _PAUSE)
        except KeyRefused:
            raise
        except TransientError as error:
            if time.monotonic() >= until:
                raise
            show.waiting(error.message)
            time.sleep(min(error.retry_after or _PAUSE, patience))


def print_failed(runtime: Runtime) -> bool:
    """Print the subscriptions whose sync failed, with the reasons. False if there are none."""
    with runtime.sessions() as session:
        failed = sync_progress.failed(session, limit=_SHOWN + 1)
    for one in failed[:_SHOWN]:
        state = "dead" if one.is_dead else "will be retried"
        click.echo(f"{state}: {one.subscription_id}: {one.reason}")
    if len(failed) > _SHOWN:
        click.echo("... and more")
    return bool(failed)


@dataclass(slots=True)
class _ProgressDisplay:
    """Shows the progress of a full sync. `expected` is the length of the list at the last time, if known."""

    show: ProgressOutput
    expected: int | None
    most: int = 0

    def update(self, progress: Progress) -> None:
        """Show the progress. The total is the largest number ever left, since syncs may be added."""
        self.most = max(self.most, progress.left)
        if progress.is_listed:
            self.show.step(_LISTING, progress.listed, progress.listed)
            if self.most:
                self.show.step(_SYNCING, self.most - progress.left, self.most)
        else:
            self.show.step(_LISTING, progress.listed, self.expected)
        if progress.waits_for:
            self.show.waiting(progress.waits_for)


def _check_provider(runtime: Runtime, show: ProgressOutput) -> None:
    """Raise `CannotGoOn` if the provider does not respond or refuses the key."""
    try:
        is_accepted = with_retries(runtime.provider.may_read, show, 0)
    except ProviderError as error:
        raise CannotGoOn(
            f"{error.message} Nothing was started. Try again later, or run `seatsync doctor`."
        ) from None
    if not is_accepted:
        raise CannotGoOn(
            "The provider refuses the API key. Check that DODO_PAYMENTS_API_KEY belongs to "
            "DODO_PAYMENTS_ENVIRONMENT, or run `seatsync doctor`."
        )


def _print_stopped(progress: Progress, reason: str) -> None:
    left = (
        f"{counted(progress.left, 'subscription is', 'subscriptions are')} still to sync"
        if progress.is_listed
        else "The provider's list was not read to its end"
    )
    click.echo(
        f"{reason} {left}. Workers continue in the background; run the command again to follow them.",
        err=True,
    )
