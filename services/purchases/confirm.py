"""Confirm a seat change: check that its preview still holds, then send it to the provider, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from domain.errors import PreviewExpired, SubscriptionChanged
from domain.provider_errors import ChangeRefused, OutcomeUnknown, ProviderError, TransientError
from domain.purchase.steps import basis
from models import account, cancellation, seat_change
from models.seat_change import ChangeState, SeatChange
from providers.base import Priority
from runtime.wiring import Runtime
from services.ledger import failed_changes
from services.ledger.locked_account import LockedAccount, lock_account
from services.ledger.sent_changes import plan_of, steps_of
from services.purchases.reduction import refuse_if_in_use
from services.purchases.refresh import is_still_of, snapshot_of, sync_or_raise
from services.purchases.settle import SHORTEST_RETRY_SECONDS, settle

log = logging.getLogger(__name__)

# A change is not sent any more if this process was suspended for longer than this after it was committed as
# submitted: other workers may have concluded by then that it was never sent.
_SEND_WITHIN_SECONDS: Final = 5.0

Check = Callable[[LockedAccount, SeatChange], None]
"""A last check with the account locked; raises if the change must not be sent."""


def confirm(
    runtime: Runtime, account_id: str, token: str, *, actor: str = "app", check: Check | None = None
) -> SeatChange:
    """Send the previewed change and return it as it stands then. If it was confirmed before, only return it.
    `actor` is who changed the seats, for the audit.

    Raises `AccountNotFound`, `SeatChangeNotFound`, `PreviewExpired`, `SubscriptionChanged`, `ChangeInFlight`,
    `SeatsInUse`, `ReleaseRefused`, `ChangeRefused` and `TransientError`. After each of these nothing has
    changed at the provider.
    """
    with runtime.sessions() as session:
        account.get(session, account_id)
        previewed = seat_change.by_token(session, account_id, token)
    if previewed.state != ChangeState.PREVIEWED:
        return _refuse_if_expired(previewed)
    sync_or_raise(runtime, previewed.subscription_id)
    began = time.monotonic()
    with runtime.transaction() as session:
        locked = lock_account(session, account_id)
        change = seat_change.by_token(session, account_id, token)
        if change.state != ChangeState.PREVIEWED:
            return _refuse_if_expired(change)
        if change.expires_at <= locked.now:
            seat_change.set_state(session, change, ChangeState.EXPIRED)
        else:
            _submit(locked, change, check)
            change.actor = actor
    _refuse_if_expired(change)
    _send(runtime, change, began)
    return settle(runtime, change.id, priority=Priority.INTERACTIVE)


def _refuse_if_expired(change: SeatChange) -> SeatChange:
    if change.state == ChangeState.EXPIRED:
        raise PreviewExpired(
            "The preview has expired, and nothing was sent. Preview again.",
            details={"change_id": change.id},
        )
    return change


def _submit(locked: LockedAccount, change: SeatChange, check: Check | None) -> None:
    session = locked.session
    steps = steps_of(change)
    preview_holds = (
        is_still_of(session, change)
        and basis(snapshot_of(session, change.subscription_id)) == change.basis
        and all(locked.balance_of(name).purchased == step.before for name, step in steps.items())
    )
    if not preview_holds:
        raise SubscriptionChanged(
            "The subscription, or the account's purchased seats, have changed since the preview, and nothing "
            "was sent. Preview again.",
            details={"change_id": change.id, "retry_helps": False},
        )
    seat_change.refuse_if_in_flight(session, change.subscription_id)
    cancellation.refuse_if_in_flight(session, change.subscription_id)
    refuse_if_in_use(locked, steps, change.release)
    if check is not None:
        check(locked, change)
    seat_change.set_state(session, change, ChangeState.SUBMITTED)
    change.next_at = locked.now + timedelta(seconds=SHORTEST_RETRY_SECONDS)


def _send(runtime: Runtime, change: SeatChange, began: float) -> None:
    """Send the change. Any error that this raises means that nothing has changed at the provider."""
    try:
        if time.monotonic() - began > _SEND_WITHIN_SECONDS:
            raise TransientError("This process was stopped before it could send the change.")
        runtime.provider.change(plan_of(change), change_id=change.id)
    except OutcomeUnknown as error:
        log.warning("seat change response lost", extra={"change_id": change.id})
        with runtime.sessions.begin() as session:
            stored = seat_change.lock(session, change.id)
            if stored.state == ChangeState.SUBMITTED:
                stored.code, stored.message = error.code, error.message
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
        stored = seat_change.lock_with_account(session, change.id)
        if stored.state == ChangeState.SUBMITTED:
            failed_changes.fail(session, stored, error.code, error.message, helps=error.retry_helps)
