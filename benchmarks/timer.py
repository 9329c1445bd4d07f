"""Runs the service's timed work at once in this process: a pass over the provider's list, and due syncs."""

from __future__ import annotations

import time

from sqlalchemy import text

from models import reconcile_pass, subscription, sync_queue
from models.reconcile_pass import ReconcilePass
from runtime.wiring import Runtime
from services.reports import service_health
from services.sync import reconcile
from services.sync.subscription import sync

_LONGEST_SECONDS = 3600.0
_PAUSE_SECONDS = 0.02

_DUE = """
    SELECT id FROM subscriptions WHERE hint > synced AND dead_reason IS NULL AND next_at <= now()
    ORDER BY routine, next_at LIMIT 500
"""


def run_pass(runtime: Runtime) -> ReconcilePass:
    """Run one pass over the provider's list from start to end, and return its record."""
    reconcile.begin(runtime, now=True)
    while True:
        reconcile.walk(runtime, until=time.monotonic() + _LONGEST_SECONDS)
        with runtime.sessions() as session:
            newest = reconcile_pass.newest(session, runtime.provider.name)
        if newest is not None and newest.finished_at is not None:
            return newest
        time.sleep(_PAUSE_SECONDS)


def run_due_syncs(runtime: Runtime) -> None:
    """Run all pending syncs, one after the other. Waits if the request budget or a backoff requires it."""
    while _is_any_sync_pending(runtime):
        with runtime.sessions() as session:
            due = session.scalars(text(_DUE)).all()
        for subscription_id in due:
            sync(runtime, subscription_id)
        time.sleep(0 if due else _PAUSE_SECONDS)


def verify_all(runtime: Runtime) -> None:
    """Do what the timer does within 24 hours: one pass, and one sync of every subscription."""
    run_pass(runtime)
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET looked_at = looked_at - interval '24 hours'"))
        total = subscription.approximate_count(session)
        due = sync_queue.due_for_verification(session, runtime.settings.verify_every, limit=total)
        sync_queue.raise_hints(session, due, routine=True)
    run_due_syncs(runtime)


def _is_any_sync_pending(runtime: Runtime) -> bool:
    with runtime.sessions() as session:
        return service_health.read(session).subscriptions_waiting > 0
