"""Tasks: three lines each over plain functions. They carry ids, never payloads."""

from __future__ import annotations

import time

from celery import Task, shared_task

from worker import housekeeping, notify, reconcile, sweep

_STORY_ENDS = 900


@shared_task(name="seatsync.sync", bind=True)
def sync_subscriptions(self: Task, subscription_ids: list[str]) -> None:
    """Look at these subscriptions, for as long as the time limit allows; the sweep rings for the rest."""
    sweep.drain(self.app.runtime, subscription_ids)


@shared_task(
    name="seatsync.reconcile",
    bind=True,
    # Longer than the visibility timeout, so it is acknowledged at its start: a pass that dies is begun
    # anew by the next tick.
    acks_late=False,
    soft_time_limit=_STORY_ENDS - 30,
    time_limit=_STORY_ENDS,
)
def reconcile_all(self: Task) -> None:
    """Compare every subscription with the provider's list, once per period."""
    reconcile.reconcile(self.app.runtime, until=time.monotonic() + _STORY_ENDS - 60)


@shared_task(name="seatsync.notify", bind=True)
def send_notices(self: Task) -> None:
    """Send what is due, for a bounded time; the sweep rings for the rest."""
    notify.notify(self.app.runtime)


@shared_task(name="seatsync.housekeep", bind=True)
def housekeep(self: Task) -> None:
    """Forget what is past its time."""
    housekeeping.housekeep(self.app.runtime)
