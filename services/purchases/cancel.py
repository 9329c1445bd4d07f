"""Cancel a seat change: drop one that is scheduled, or that nobody confirmed."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from domain.errors import (
    ChangeRefused,
    NotCancellable,
    OutcomeUnknown,
)
from domain.purchase.steps import PlanStatus, status_of
from models import seat_change
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.ledger.locked_account import lock_account
from services.ledger.sent_changes import plan_of, steps_of
from services.purchases.reduction import too_many
from services.purchases.refresh import is_still_of, snapshot_of, sync_now, sync_or_raise

log = logging.getLogger(__name__)

ONCE_AN_HOUR: Final = timedelta(hours=1)


def cancel(runtime: Runtime, account_id: str, change_id: str) -> SeatChange:
    """Take a scheduled change back, or a preview that is not wanted; the change as it stands then.

    Raises `SeatChangeNotFound`, `NotCancellable`, and what the provider raises.
    """
    with runtime.transaction() as session:
        lock_account(session, account_id)
        change = seat_change.get(session, account_id, change_id)
        if change.state == ChangeState.PREVIEWED:
            seat_change.set_state(session, change, ChangeState.EXPIRED)
        is_ours = is_still_of(session, change)
    if change.state == ChangeState.SCHEDULED and is_ours:
        drop(runtime, change)
        with runtime.sessions() as session:
            change = seat_change.get(session, account_id, change_id)
        is_over = change.state not in (ChangeState.SCHEDULED, ChangeState.CANCELLED)
    else:
        is_over = change.state not in (ChangeState.EXPIRED, ChangeState.CANCELLED)
    if is_over:
        why = f"The change is {change.state}" if is_ours else "The subscription has moved to another account"
        raise NotCancellable(
            f"{why}, so it cannot be taken back: preview another one.",
            details={"change_id": change.id, "state": change.state},
        )
    return change


def drop(runtime: Runtime, change: SeatChange) -> None:
    """Take ours back, and nothing that the customer has scheduled in its place meanwhile."""
    sync_or_raise(runtime, change.subscription_id)
    with runtime.sessions() as session:
        trace = status_of(plan_of(change), snapshot_of(session, change.subscription_id))
    if trace is not PlanStatus.SCHEDULED:
        return
    try:
        runtime.provider.drop_scheduled_change(change.subscription_id)
    except OutcomeUnknown:
        log.warning("the answer to a cancellation was lost", extra={"change": change.id})
    except ChangeRefused as refused:
        if refused.code != "nothing_scheduled":
            raise
    with runtime.sessions.begin() as session:
        seat_change.expect_cancellation(session, change.id)
    sync_now(runtime, change.subscription_id)


def take_back_if_outgrown(runtime: Runtime, change_id: str) -> None:
    """A reduction that people have outgrown since is not carried out: they would lose their seats."""
    with runtime.transaction() as session:
        locked = lock_account(session, session.get_one(SeatChange, change_id).account_id)
        kept = seat_change.lock(session, change_id)
        is_going = kept.missed_at is not None or kept.code == seat_change.TAKEN_BACK
        if kept.state != ChangeState.SCHEDULED or is_going:
            return
        kept.next_at = locked.now + ONCE_AN_HOUR
        is_outgrown = is_still_of(session, kept) and bool(too_many(locked, steps_of(kept), kept.release))
    if is_outgrown:
        log.info("a scheduled reduction was outgrown", extra={"change": change_id})
        drop(runtime, kept)
