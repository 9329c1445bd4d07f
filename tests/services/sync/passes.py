"""Helpers for tests of reconcile: whole passes over the list, and the syncs that they request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select, text

from models import reconcile_pass, sync_queue
from models.drift_finding import DriftFinding
from models.reconcile_pass import ReconcilePass
from runtime.wiring import Runtime
from services.sync import reconcile
from services.sync.subscription import sync

ENDLESS = float("inf")


def complete_pass(runtime: Runtime) -> ReconcilePass:
    """Run one pass from start to end without a pause; return its row."""
    reconcile.begin(runtime, now=True)
    reconcile.walk(runtime, until=ENDLESS)
    return the_pass(runtime)


def the_pass(runtime: Runtime) -> ReconcilePass:
    with runtime.sessions() as session:
        found = reconcile_pass.newest(session, runtime.provider.name)
    assert found is not None
    return found


def verify_for(runtime: Runtime, minutes: int = 1) -> None:
    """Run the rolling verification as if this many minutes had passed."""
    for _ in range(minutes):
        with runtime.sessions.begin() as session:
            session.execute(text("DELETE FROM ticks WHERE name = 'verify'"))
        reconcile.verify(runtime)


def requested_syncs(runtime: Runtime) -> Sequence[str]:
    with runtime.sessions.begin() as session:
        due = sync_queue.due_to_wake(session, limit=100_000, routine_limit=100_000, again=timedelta(0))
    return sorted(due.all)


def run_requested_syncs(runtime: Runtime) -> None:
    """Sync everything that is due."""
    for name in requested_syncs(runtime):
        sync(runtime, name)


def drift(runtime: Runtime) -> Sequence[DriftFinding]:
    with runtime.sessions() as session:
        return session.scalars(select(DriftFinding).order_by(DriftFinding.id)).all()
