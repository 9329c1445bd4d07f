"""The Celery tasks: thin wrappers of plain functions. They carry ids only, and may run twice or be lost.

Each works for a bounded time; the sweep wakes workers for what is left.
"""

from __future__ import annotations

import time

from celery import Task, shared_task

from models import scheduled_job
from services.notices import delivery
from services.purchases import auto_expand, settle, settle_ending
from services.sync import batch, reconcile
from worker import housekeeping

# One more request after this still ends within the soft time limit.
_TASK_SECONDS = 8.0


@shared_task(name="seatsync.sync", bind=True)
def sync_subscriptions(self: Task, subscription_ids: list[str]) -> None:
    """Sync these subscriptions."""
    batch.drain(self.app.runtime, subscription_ids)


@shared_task(name="seatsync.reconcile", bind=True)
def reconcile_with_provider(self: Task) -> None:
    """Reconcile: walk the provider's list and request verifications."""
    reconcile.reconcile(self.app.runtime, until=time.monotonic() + _TASK_SECONDS)


@shared_task(name="seatsync.settle", bind=True)
def settle_changes(self: Task) -> None:
    """Settle seat changes and cancellations that were sent, then buy seats for pending claims."""
    now = time.monotonic()
    settle.settle_due(self.app.runtime, until=now + _TASK_SECONDS / 3)
    settle_ending.settle_due(self.app.runtime, until=now + _TASK_SECONDS / 2)
    auto_expand.expand_due(self.app.runtime, until=now + _TASK_SECONDS)


@shared_task(name="seatsync.heartbeat", bind=True)
def heartbeat(self: Task) -> None:
    """Record that beat, broker and a worker are running."""
    with self.app.runtime.sessions.begin() as session:
        scheduled_job.start_if_due(session, scheduled_job.BEAT, scheduled_job.EVERY_HEARTBEAT)


@shared_task(name="seatsync.notify", bind=True)
def send_notices(self: Task) -> None:
    """Send due notices."""
    delivery.notify(self.app.runtime)


@shared_task(name="seatsync.housekeep", bind=True)
def housekeep(self: Task) -> None:
    """Delete old rows, at most once an hour."""
    housekeeping.housekeep_if_due(self.app.runtime)
