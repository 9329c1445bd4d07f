"""Tasks: three lines each over plain functions. They carry ids, never payloads."""

from __future__ import annotations

import time

from celery import Task, shared_task

from models import scheduled_job
from services.notices import delivery
from services.purchases import auto_expand, settle
from services.sync import batch, reconcile
from worker import housekeeping

# And one page more stays within the soft time limit.
_A_WHILE = 8.0


@shared_task(name="seatsync.sync", bind=True)
def sync_subscriptions(self: Task, subscription_ids: list[str]) -> None:
    """Look at these subscriptions, for as long as the time limit allows; the sweep rings for the rest."""
    batch.drain(self.app.runtime, subscription_ids)


@shared_task(name="seatsync.reconcile", bind=True)
def reconcile_a_while(self: Task) -> None:
    """Do what is due of comparing with the provider, for a bounded time; the sweep rings for the rest."""
    reconcile.reconcile(self.app.runtime, until=time.monotonic() + _A_WHILE)


@shared_task(name="seatsync.settle", bind=True)
def settle_changes(self: Task) -> None:
    """Find out what became of seat changes, and buy what claims wait for, for a bounded time; the sweep
    rings for the rest.
    """
    now = time.monotonic()
    settle.settle_due(self.app.runtime, until=now + _A_WHILE / 2)
    auto_expand.expand_due(self.app.runtime, until=now + _A_WHILE)


@shared_task(name="seatsync.heartbeat", bind=True)
def heartbeat(self: Task) -> None:
    """Show that beat, broker and worker are alive."""
    with self.app.runtime.sessions.begin() as session:
        scheduled_job.claim_run(session, scheduled_job.BEAT, scheduled_job.EVERY_HEARTBEAT)


@shared_task(name="seatsync.notify", bind=True)
def send_notices(self: Task) -> None:
    """Send what is due, for a bounded time; the sweep rings for the rest."""
    delivery.notify(self.app.runtime)


@shared_task(name="seatsync.housekeep", bind=True)
def housekeep(self: Task) -> None:
    """Forget what is past its time, once an hour."""
    housekeeping.housekeep_if_due(self.app.runtime)
