"""Confirm a seat change: check that the preview still holds, then send it to the provider once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from domain.errors import (
    ChangeRefused,
    OutcomeUnknown,
    PreviewExpired,
    ProviderError,
    SubscriptionChanged,
    TransientError,
)
from domain.purchase.steps import basis
from models import account, seat_change
from models.seat_change import ChangeState, SeatChange
from providers.base import Caller
from runtime.wiring import Runtime
from services.ledger import failed_changes
from services.ledger.locked_account import LockedAccount, lock_account
from services.ledger.sent_changes import plan_of, steps_of
from services.purchases.reduction import refuse_if_in_use
from services.purchases.refresh import is_still_of, snapshot_of, sync_or_raise
from services.purchases.settle import LOOK_AGAIN, settle

log = logging.getLogger(__name__)

# From the commit that makes a change submitted to its one write: a process that was stopped in between for
# longer does not send it any more, because others may have concluded by then that it never came.
_SOON: Final = 5.0


Check = Callable[[LockedAccount, SeatChange], None]
"""Raises where a change is not to be sent after all; called with the account locked."""


def confirm(
    runtime: Runtime, account_id: str, token: str, *, actor: str = "app", check: Check | None = None
) -> SeatChange:
    """Send the previewed change, once; pressed again, the change as it stands. The audit names the `actor`
    for what it moves.

    Raises `AccountNotFound`, `SeatChangeNotFound`, `PreviewExpired`, `SubscriptionChanged`, `ChangeInFlight`,
    `SeatsInUse`, `ReleaseRefused`, `ChangeRefused` and `TransientError`: then nothing was sent, or nothing
    came of it.
    """
    with runtime.sessions() as session:
        account.get(session, account_id)
        asked = seat_change.by_token(session, account_id, token)
    if asked.state != ChangeState.PREVIEWED:
        return _unless_expired(asked)
    sync_or_raise(runtime, asked.subscription_id)
    began = time.monotonic()
    with runtime.transaction() as session:
        locked = lock_account(session, account_id)
        change = seat_change.by_token(session, account_id, token)
        if change.state != ChangeState.PREVIEWED:
            return _unless_expired(change)
        if change.expires_at <= locked.now:
            seat_change.set_state(session, change, ChangeState.EXPIRED)
        else:
            _submit(locked, change, check)
            change.actor = actor
    _unless_expired(change)
    _send(runtime, change, began)
    return settle(runtime, change.id, caller=Caller.INTERACTIVE)


def _unless_expired(change: SeatChange) -> SeatChange:
    if change.state == ChangeState.EXPIRED:
        raise PreviewExpired(
            "The preview is too old to be confirmed, and nothing was sent: preview again.",
            details={"change_id": change.id},
        )
    return change


def _submit(locked: LockedAccount, change: SeatChange, check: Check | None) -> None:
    session = locked.session
    steps = steps_of(change)
    is_same = (
        is_still_of(session, change)
        and basis(snapshot_of(session, change.subscription_id)) == change.basis
        and all(locked.of(name).purchased == step.before for name, step in steps.items())
    )
    if not is_same:
        raise SubscriptionChanged(
            "The subscription, or what the account has, is not what the preview was made of any more, and "
            "nothing was sent: preview again.",
            details={"change_id": change.id, "retry_helps": False},
        )
    seat_change.refuse_if_in_flight(session, change)
    refuse_if_in_use(locked, steps, change.release)
    if check is not None:
        check(locked, change)
    seat_change.set_state(session, change, ChangeState.SUBMITTED)
    change.next_at = locked.now + timedelta(seconds=LOOK_AGAIN)


def _send(runtime: Runtime, change: SeatChange, began: float) -> None:
    """The one write. Whatever is raised here but `OutcomeUnknown` means that nothing was changed."""
    try:
        if time.monotonic() - began > _SOON:
            raise TransientError("This process was stopped before it could send the change.")
        runtime.provider.change(plan_of(change), change_id=change.id)
    except OutcomeUnknown as lost:
        log.warning("the answer to a seat change was lost", extra={"change": change.id})
        with runtime.sessions.begin() as session:
            kept = seat_change.lock(session, change.id)
            if kept.state == ChangeState.SUBMITTED:
                kept.code, kept.message = lost.code, lost.message
    except ProviderError as error:
        if not isinstance(error, ChangeRefused):
            error.message += " Nothing was changed: preview again."
        _fail(runtime, change, error)
        raise
    else:
        with runtime.sessions.begin() as session:
            seat_change.mark_accepted(session, change.id)


def _fail(runtime: Runtime, change: SeatChange, error: ProviderError) -> None:
    with runtime.sessions.begin() as session:
        kept = seat_change.lock(session, change.id)
        if kept.state == ChangeState.SUBMITTED:
            failed_changes.fail(session, kept, error.code, error.message, helps=error.retry_helps)
