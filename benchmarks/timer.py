"""What the service does by itself, done here and now: a pass over the provider's list, and the looks due."""

from __future__ import annotations

import time

from sqlalchemy import text

from models import reconcile_pass, subscription, sync_queue
from models.reconcile_pass import ReconcilePass
from runtime.wiring import Runtime
from services.reports import service_health
from services.sync import reconcile
from services.sync.subscription import sync

_LONGEST = 3600.0
_PAUSE = 0.02

_DUE = """
    SELECT id FROM subscriptions WHERE hint > synced AND dead_reason IS NULL AND next_at <= now()
    ORDER BY routine, next_at LIMIT 500
"""


def a_pass(runtime: Runtime) -> ReconcilePass:
    """One pass from its begin to its end, as when somebody waits for it; what it found."""
    reconcile.begin(runtime, now=True)
    while True:
        reconcile.walk(runtime, until=time.monotonic() + _LONGEST)
        with runtime.sessions() as session:
            made = reconcile_pass.newest(session, runtime.provider.name)
        if made is not None and made.finished_at is not None:
            return made
        time.sleep(_PAUSE)


def work_off(runtime: Runtime) -> None:
    """Look at all that is asked for, one after the other, and wait where the budget makes us wait."""
    while _is_anybody_waiting(runtime):
        with runtime.sessions() as session:
            due = session.scalars(text(_DUE)).all()
        for subscription_id in due:
            sync(runtime, subscription_id)
        time.sleep(0 if due else _PAUSE)


def a_day(runtime: Runtime) -> None:
    """A pass, and the look that everybody gets within 24 hours."""
    a_pass(runtime)
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET looked_at = looked_at - interval '24 hours'"))
        everybody = subscription.count(session)
        due = sync_queue.due_for_verification(session, runtime.settings.verify_every, limit=everybody)
        sync_queue.raise_hints(session, due, routine=True)
    work_off(runtime)


def _is_anybody_waiting(runtime: Runtime) -> bool:
    with runtime.sessions() as session:
        return service_health.read(session).subscriptions_waiting > 0
