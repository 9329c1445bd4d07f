"""End subscriptions: preview a cancellation, confirm it, undo it while it is scheduled.

Like a seat change, a cancellation is previewed, confirmed by a token, sent once, and true only when a sync
shows it. An undo is sent once, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from domain.billing_terms import When
from domain.errors import (
    AlreadyEnding,
    ChangeInFlight,
    NoSubscription,
    NotEndableAtRenewal,
    NotUndoable,
    PreviewExpired,
    SubscriptionChanged,
)
from domain.provider_errors import ChangeRefused, OutcomeUnknown, ProviderError, TransientError
from domain.purchase.ending import Ending, ending_basis, ending_sentence, unused_days
from domain.reduction import Leaver
from domain.seat_limit import to_json
from domain.snapshot import SubscriptionSnapshot, SubscriptionStatus
from domain.statuses import StatusEffect
from models import account, cancellation, seat_change, subscription
from models.cancellation import Cancellation, CancellationState
from models.subscription import Subscription
from providers.base import Priority
from runtime.wiring import Runtime
from services.ledger import cancellations
from services.ledger.after_ending import AfterEnding, account_after
from services.ledger.locked_account import LockedAccount, lock_account
from services.purchases.refresh import snapshot_of, sync_or_raise
from services.purchases.settle_ending import SHORTEST_RETRY_SECONDS, settle

log = logging.getLogger(__name__)

# As for seat changes: nothing is sent any more if this process was suspended for longer than this.
_SEND_WITHIN_SECONDS: Final = 5.0
_HAS_RENEWAL: Final = (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationRequest:
    """Which subscription is to end, and when. `subscription_id` may be left out if the account has one."""

    when: When
    subscription_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedCancellation:
    """A stored cancellation, and the token that confirms it, of which only a hash is stored.

    `leavers` are the first 100 of `total_over` members who are over a limit after the end. They are not
    stored, because they may have left by then.
    """

    cancellation: Cancellation
    token: str
    leavers: Sequence[Leaver]
    total_over: int


def preview(runtime: Runtime, account_id: str, request: CancellationRequest) -> PreviewedCancellation:
    """Preview the cancellation and store it, ready to be confirmed. Nothing changes at the provider.

    Raises `AccountNotFound`, `NoSubscription`, `AlreadyEnding`, `NotEndableAtRenewal`, and the provider's
    errors.
    """
    subscription_id = _choose_subscription(runtime, account_id, request)
    sync_or_raise(runtime, subscription_id)
    with runtime.sessions() as session:
        # Figures and members must belong to the same moment.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        if session.get_one(Subscription, subscription_id).account_id != account_id:
            raise NoSubscription(f"The subscription {subscription_id!r} belongs to another account now.")
        snapshot, now = snapshot_of(session, subscription_id), account.now(session)
        ends_at = _ends_at(runtime, snapshot, request.when, now)
        after = account_after(session, account_id, subscription_id, ends_at, runtime.catalog)
    previewed = Cancellation(
        account_id=account_id,
        subscription_id=subscription_id,
        kind=request.when.value,
        ends_at=ends_at,
        basis=ending_basis(snapshot),
        shown=_shown(runtime, snapshot, request.when, ends_at, after=after, now=now),
    )
    with runtime.transaction() as session:
        lock_account(session, account_id)
        token = cancellation.add_preview(session, previewed)
    return PreviewedCancellation(
        cancellation=previewed, token=token, leavers=after.leavers, total_over=after.total_over
    )


def confirm(runtime: Runtime, account_id: str, token: str, *, actor: str = "app") -> Cancellation:
    """Send the previewed cancellation and return it as it stands then. If it was confirmed before, only
    return it. `actor` is who ends the subscription, for the audit.

    Raises `AccountNotFound`, `CancellationNotFound`, `PreviewExpired`, `SubscriptionChanged`,
    `ChangeInFlight`, `ChangeRefused` and `TransientError`. After each of these nothing has changed at the
    provider.
    """
    with runtime.sessions() as session:
        account.get(session, account_id)
        previewed = cancellation.by_token(session, account_id, token)
    if previewed.state != CancellationState.PREVIEWED:
        return _refuse_if_expired(previewed)
    sync_or_raise(runtime, previewed.subscription_id)
    began = time.monotonic()
    with runtime.transaction() as session:
        locked = lock_account(session, account_id)
        row = cancellation.by_token(session, account_id, token)
        if row.state != CancellationState.PREVIEWED:
            return _refuse_if_expired(row)
        if row.expires_at is None or row.expires_at <= locked.now:
            cancellation.set_state(session, row, CancellationState.EXPIRED)
        else:
            _submit(locked, row)
            row.actor = actor
    _refuse_if_expired(row)
    _send(
        runtime,
        row,
        began,
        lambda: runtime.provider.cancel(row.subscription_id, When(row.kind)),
        _fail,
    )
    return settle(runtime, row.id, priority=Priority.INTERACTIVE)


def undo(runtime: Runtime, account_id: str, cancellation_id: str, *, actor: str = "app") -> Cancellation:
    """Undo a scheduled cancellation, whoever made it, or discard a preview; return it as it stands then.

    Raises `AccountNotFound`, `CancellationNotFound`, `NotUndoable`, `ChangeInFlight`, `ChangeRefused` and
    `TransientError`. After each of these nothing was undone at the provider.
    """
    with runtime.transaction() as session:
        lock_account(session, account_id)
        row = cancellation.get(session, account_id, cancellation_id)
        if row.state == CancellationState.PREVIEWED:
            cancellation.set_state(session, row, CancellationState.EXPIRED)
    if row.state in (CancellationState.EXPIRED, CancellationState.UNDONE):
        return row
    _refuse_unless_scheduled(row)
    if row.undo_sent_at is None:
        sync_or_raise(runtime, row.subscription_id)
    began = time.monotonic()
    with runtime.transaction() as session:
        locked = lock_account(session, account_id)
        row = cancellation.lock(session, cancellation_id)
        if row.state == CancellationState.UNDONE:
            return row
        _refuse_unless_scheduled(row)
        is_new = row.undo_sent_at is None  # else another call has sent it, and only the outcome is unknown
        if is_new:
            _submit_undo(locked, row, actor)
    if is_new:
        _send(
            runtime,
            row,
            began,
            lambda: runtime.provider.undo_cancellation(row.subscription_id),
            _withdraw_undo,
        )
    row = settle(runtime, row.id, priority=Priority.INTERACTIVE)
    if row.state != CancellationState.UNDONE:
        _refuse_unless_scheduled(row)  # the subscription may have ended meanwhile
    return row


def _choose_subscription(runtime: Runtime, account_id: str, request: CancellationRequest) -> str:
    """The requested subscription, or the only one that has not ended."""
    with runtime.sessions() as session:
        account.get(session, account_id)
        all_ids = [one.id for one in subscription.of_account(session, account_id)]
        running = [one.id for one in subscription.running_subscriptions_of(session, account_id)]
    if request.subscription_id is not None:
        if request.subscription_id not in all_ids:
            raise NoSubscription(
                f"Account {account_id!r} has no subscription {request.subscription_id!r}.",
                details={"subscriptions": all_ids},
            )
        return request.subscription_id
    if len(running) != 1:
        next_step = "name the one to cancel" if running else "there is nothing to cancel"
        raise NoSubscription(
            f"Account {account_id!r} has {len(running)} running subscriptions: {next_step}.",
            details={"subscriptions": running},
        )
    return running[0]


def _ends_at(runtime: Runtime, snapshot: SubscriptionSnapshot, when: When, now: datetime) -> datetime:
    """When the subscription would end. Raises `AlreadyEnding`, `NotEndableAtRenewal`."""
    details = {"subscription_id": snapshot.subscription_id, "status": snapshot.status}
    if runtime.catalog.effect(snapshot.status) is StatusEffect.ENDED:
        raise AlreadyEnding("The subscription has ended already.", details=details)
    if when is When.NOW:
        return now
    if snapshot.cancel_at_next_billing_date:
        raise AlreadyEnding(
            "The subscription ends at its next billing date already. To end it at once, preview with "
            '"when": "now".',
            details=details,
        )
    if snapshot.next_billing_date is None or snapshot.status not in _HAS_RENEWAL:
        raise NotEndableAtRenewal(
            f"The subscription is {snapshot.status} and is not renewed, so it cannot end at a renewal. "
            'Preview with "when": "now".',
            details=details,
        )
    return snapshot.next_billing_date


def _shown(
    runtime: Runtime,
    snapshot: SubscriptionSnapshot,
    when: When,
    ends_at: datetime,
    *,
    after: AfterEnding,
    now: datetime,
) -> dict[str, Any]:
    """What the caller is shown before it confirms. It names no members, since it is stored."""
    product = runtime.catalog.product(snapshot.product_id)
    ending = Ending(
        product=(product and product.name) or snapshot.product_id,
        when=when,
        ends_at=ends_at,
        types=after.types,
        remaining=[_source(one) for one in after.remaining],
        unused_days=unused_days(snapshot, when, now),
        drops_scheduled_change=snapshot.scheduled_change is not None,
    )
    return {
        "status_after": after.status.value,
        "seats": {
            name: {
                **asdict(one),
                "before": to_json(one.before),
                "after": to_json(one.after),
                "claims_refused_from": _text(one.claims_refused_from),
                "suspended_at": _text(one.suspended_at),
            }
            for name, one in after.types.items()
        },
        "remaining": list(after.remaining),
        "unused_days": ending.unused_days,
        "drops_scheduled_change": ending.drops_scheduled_change,
        "sentence": ending_sentence(ending),
    }


def _source(remaining: Any) -> str:
    if "contract" in remaining:
        return f"contract {remaining['contract']}"
    return "the free plan" if "free" in remaining else f"subscription {remaining['subscription_id']}"


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _refuse_if_expired(row: Cancellation) -> Cancellation:
    if row.state == CancellationState.EXPIRED:
        raise PreviewExpired(
            "The preview has expired, and nothing was sent. Preview again.",
            details={"cancellation_id": row.id},
        )
    return row


def _refuse_unless_scheduled(row: Cancellation) -> None:
    if row.state == CancellationState.SUBMITTED:
        raise ChangeInFlight(
            "The outcome of the cancellation is not known yet, so it cannot be undone now. Wait until it is "
            "scheduled, then undo it.",
            details={"cancellation_id": row.id, "retry_helps": True},
        )
    if row.state != CancellationState.SCHEDULED:
        raise NotUndoable(
            f"The cancellation is {row.state}, so it cannot be undone. If the subscription has ended, buy a "
            "new one by checkout.",
            details={"cancellation_id": row.id, "state": row.state},
        )


def _submit(locked: LockedAccount, row: Cancellation) -> None:
    session = locked.session
    shown = (row.shown or {})["seats"]
    preview_holds = (
        session.get_one(Subscription, row.subscription_id).account_id == row.account_id
        and ending_basis(snapshot_of(session, row.subscription_id)) == row.basis
        and all(to_json(locked.balance_of(name).purchased) == one["before"] for name, one in shown.items())
    )
    if not preview_holds:
        raise SubscriptionChanged(
            "The subscription, or the account's purchased seats, have changed since the preview, and nothing "
            "was sent. Preview again.",
            details={"cancellation_id": row.id, "retry_helps": False},
        )
    seat_change.refuse_if_in_flight(session, row.subscription_id)
    cancellation.refuse_if_in_flight(session, row.subscription_id)
    cancellation.set_state(session, row, CancellationState.SUBMITTED)
    row.next_at = locked.now + timedelta(seconds=SHORTEST_RETRY_SECONDS)


def _submit_undo(locked: LockedAccount, row: Cancellation, actor: str) -> None:
    if row.account_id != locked.account_id:
        raise NotUndoable(
            "The subscription has moved to another account. Undo its cancellation there.",
            details={"cancellation_id": row.id, "state": row.state},
        )
    cancellation.refuse_if_in_flight(locked.session, row.subscription_id)
    row.undo_sent_at, row.undo_actor, row.attempts = locked.now, actor, 0
    row.code = row.message = row.retry_helps = None
    row.next_at = locked.now + timedelta(seconds=SHORTEST_RETRY_SECONDS)


def _send(
    runtime: Runtime,
    row: Cancellation,
    began: float,
    send: Callable[[], None],
    withdraw: Callable[[Runtime, str, ProviderError], None],
) -> None:
    """Send a request about the cancellation. Any error that this raises means that nothing has changed at the
    provider, and `withdraw` has recorded that.
    """
    try:
        if time.monotonic() - began > _SEND_WITHIN_SECONDS:
            raise TransientError("This process was stopped before it could send the request.")
        send()
    except OutcomeUnknown as error:
        log.warning("cancellation response lost", extra={"cancellation_id": row.id})
        with runtime.sessions.begin() as session:
            stored = cancellation.lock(session, row.id)
            if stored.state == CancellationState.SUBMITTED or stored.undo_sent_at is not None:
                stored.code, stored.message = error.code, error.message
    except ProviderError as error:
        if not isinstance(error, ChangeRefused):
            error.message += " Nothing was changed."
        withdraw(runtime, row.id, error)
        raise


def _fail(runtime: Runtime, cancellation_id: str, error: ProviderError) -> None:
    with runtime.sessions.begin() as session:
        row = cancellation.lock_with_account(session, cancellation_id)
        if row.state == CancellationState.SUBMITTED:
            cancellations.fail(session, row, error.code, error.message, helps=error.retry_helps)


def _withdraw_undo(runtime: Runtime, cancellation_id: str, error: ProviderError) -> None:
    with runtime.sessions.begin() as session:
        row = cancellation.lock_with_account(session, cancellation_id)
        if row.undo_sent_at is not None:
            cancellations.fail_undo(session, row, error.code, error.message, helps=error.retry_helps)
