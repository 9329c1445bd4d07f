"""Whole passes over the provider's list, and the looks that they ask for."""

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


def pass_over(runtime: Runtime) -> ReconcilePass:
    """One pass from its beginning to its end, without a pause; what it found."""
    reconcile.begin(runtime, now=True)
    reconcile.walk(runtime, until=ENDLESS)
    return the_pass(runtime)


def the_pass(runtime: Runtime) -> ReconcilePass:
    with runtime.sessions() as session:
        found = reconcile_pass.newest(session, runtime.provider.name)
    assert found is not None
    return found


def turns_of(runtime: Runtime, minutes: int = 1) -> None:
    """So many minutes of the rolling verification."""
    for _ in range(minutes):
        with runtime.sessions.begin() as session:
            session.execute(text("DELETE FROM ticks WHERE name = 'verify'"))
        reconcile.verify(runtime)


def asked_for(runtime: Runtime) -> Sequence[str]:
    with runtime.sessions.begin() as session:
        due = sync_queue.claim_due(session, limit=100_000, routine_limit=100_000, again=timedelta(0))
    return sorted(due.all)


def work_off(runtime: Runtime) -> None:
    """Look at everything that is asked for."""
    for name in asked_for(runtime):
        sync(runtime, name)


def drift(runtime: Runtime) -> Sequence[DriftFinding]:
    with runtime.sessions() as session:
        return session.scalars(select(DriftFinding).order_by(DriftFinding.id)).all()
