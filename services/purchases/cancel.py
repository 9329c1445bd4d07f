"""Cancel seat changes that are scheduled at the provider, or only previewed."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from domain.errors import NotCancellable
from domain.provider_errors import ChangeRefused, OutcomeUnknown
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
    """Cancel a scheduled change, or discard a preview; return the change in its new state.

    Raises `SeatChangeNotFound`; `NotCancellable` if it is in another state; and the provider's errors.
    """
    with runtime.transaction() as session:
        lock_account(session, account_id)
        change = seat_change.get(session, account_id, change_id)
        if change.state == ChangeState.PREVIEWED:
            seat_change.set_state(session, change, ChangeState.EXPIRED)
        is_ours = is_still_of(session, change)
    if change.state == ChangeState.SCHEDULED and is_ours:
        drop_at_provider(runtime, change)
        with runtime.sessions() as session:
            change = seat_change.get(session, account_id, change_id)
        # Still scheduled: the provider has not shown yet that it is gone.
        is_cancelled = change.state in (ChangeState.SCHEDULED, ChangeState.CANCELLED)
    else:
        is_cancelled = change.state in (ChangeState.EXPIRED, ChangeState.CANCELLED)
    if not is_cancelled:
        why = f"The change is {change.state}" if is_ours else "The subscription has moved to another account"
        raise NotCancellable(
            f"{why}, so it cannot be cancelled. Preview a new change instead.",
            details={"change_id": change.id, "state": change.state},
        )
    return change


def drop_at_provider(runtime: Runtime, change: SeatChange) -> None:
    """Cancel the scheduled change at the provider, unless another one has taken its place there.

    Raises the provider's errors, except those that say that nothing is scheduled or that leave the outcome
    open: the next syncs show it.
    """
    sync_or_raise(runtime, change.subscription_id)
    with runtime.sessions() as session:
        status = status_of(plan_of(change), snapshot_of(session, change.subscription_id))
    if status is not PlanStatus.SCHEDULED:
        return
    try:
        runtime.provider.drop_scheduled_change(change.subscription_id)
    except OutcomeUnknown:
        log.warning("cancellation response lost", extra={"change_id": change.id})
    except ChangeRefused as error:
        if error.code != "nothing_scheduled":
            raise
    with runtime.sessions.begin() as session:
        seat_change.expect_cancellation(session, change.id)
    sync_now(runtime, change.subscription_id)


def cancel_if_seats_in_use(runtime: Runtime, change_id: str) -> None:
    """Cancel a scheduled reduction if, by now, more members hold seats than it would leave: they would lose
    them. Otherwise check again in an hour.
    """
    with runtime.transaction() as session:
        locked = lock_account(session, session.get_one(SeatChange, change_id).account_id)
        change = seat_change.lock(session, change_id)
        is_ending = change.missed_at is not None or change.code == seat_change.TAKEN_BACK
        if change.state != ChangeState.SCHEDULED or is_ending:
            return
        change.next_at = locked.now + ONCE_AN_HOUR
        in_use = is_still_of(session, change) and bool(too_many(locked, steps_of(change), change.release))
    if in_use:
        log.info("scheduled reduction cancelled", extra={"change_id": change_id})
        drop_at_provider(runtime, change)
