"""Seat changes: confirm exactly what was previewed, and read until it is known what came of it.

Nothing is provisioned on the provider's word that it agreed: seats are there once a snapshot shows them
(`models.planned_changes`). A write is sent once. When its answer is lost, the subscription is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from domain.cart import Cart
from domain.errors import (
    ChangeRefused,
    NotCancellable,
    OutcomeUnknown,
    PreviewExpired,
    ProviderError,
    SubscriptionChanged,
    TransientError,
)
from domain.purchase.steps import Trace, basis, cart_to_json, trace_of
from models import account, seat_change
from models.locked_account import LockedAccount, lock
from models.planned_changes import plan_of, steps_of
from models.seat_change import ChangeState, SeatChange
from models.subscription import Subscription, kept_snapshot
from providers.base import Caller
from runtime.wiring import Runtime
from worker import failed_changes
from worker.backoff import backoff
from worker.resync import resync_subscription
from worker.seat_preview import PATIENCE, look_at, refuse_if_in_use, snapshot_of, too_many

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 50
_IN_PROGRESS: Final = "change_in_progress"
# From the commit that makes a change submitted to its one write: a process that was stopped in between for
# longer does not send it any more, because others may have concluded by then that it never came.
_SOON: Final = 5.0
# A write whose answer was lost may still arrive: longer than `_SOON` and any request of ours can take.
_SETTLING: Final = timedelta(minutes=1)
# The longest that a payment may take (two days for Indian cards, Dodo documentation, subscriptions), and
# then some: nothing is waited for without end.
_LONGEST: Final = timedelta(days=4)
_LOOK_AGAIN: Final = 2.0
_UNSEEN: Final = {
    seat_change.NOT_APPLIED: "The provider shows no trace of the change: its payment failed, or it never "
    "arrived. Nothing has changed; preview again if it is still wanted.",
    seat_change.OVERTAKEN: "Somebody else has changed the subscription since, so it does not show whether "
    "this change was made before. The payments at the provider tell: one for it has its id as "
    "`seatsync_change_id`. Preview again if it is still wanted.",
}
_EVERY_HOUR: Final = timedelta(hours=1)


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
    look_at(runtime, asked.subscription_id)
    began = time.monotonic()
    with runtime.transaction() as session:
        locked = lock(session, account_id)
        change = seat_change.by_token(session, account_id, token)
        if change.state != ChangeState.PREVIEWED:
            return _unless_expired(change)
        if change.expires_at <= locked.now:
            seat_change.move(session, change, ChangeState.EXPIRED)
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
        _is_of(session, change)
        and basis(snapshot_of(session, change.subscription_id)) == change.basis
        and all(locked.of(name).purchased == step.before for name, step in steps.items())
    )
    if not is_same:
        raise SubscriptionChanged(
            "The subscription, or what the account has, is not what the preview was made of any more, and "
            "nothing was sent: preview again.",
            details={"change_id": change.id, "retry_helps": False},
        )
    seat_change.refuse_second(session, change)
    refuse_if_in_use(locked, steps, change.release)
    if check is not None:
        check(locked, change)
    seat_change.move(session, change, ChangeState.SUBMITTED)
    change.next_at = locked.now + timedelta(seconds=_LOOK_AGAIN)


def _is_of(session: Session, change: SeatChange) -> bool:
    """Whether the subscription still belongs to the account that asked for the change."""
    return session.get_one(Subscription, change.subscription_id).account_id == change.account_id


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
            seat_change.answered(session, change.id)


def _fail(runtime: Runtime, change: SeatChange, error: ProviderError) -> None:
    with runtime.sessions.begin() as session:
        kept = seat_change.lock(session, change.id)
        if kept.state == ChangeState.SUBMITTED:
            failed_changes.fail(session, kept, error.code, error.message, helps=error.retry_helps)


def settle_due(runtime: Runtime, *, until: float) -> None:
    """Settle what is due, until the monotonic clock reaches `until`; one failure stops no other."""
    with runtime.sessions() as session:
        due = seat_change.due(session, limit=_MOST_AT_ONCE)
    for change_id in due:
        if time.monotonic() >= until:
            return
        with runtime.sessions.begin() as session:
            # First of all, so that whatever happens below, the others come before this one again.
            seat_change.postpone(session, change_id, timedelta(seconds=backoff(10)))
        try:
            settle(runtime, change_id)
        except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
            log.error(  # noqa: TRY400
                "a seat change is not settled", extra={"change": change_id, "error": type(error).__name__}
            )


def settle(runtime: Runtime, change_id: str, *, caller: Caller = Caller.WEBHOOK) -> SeatChange:
    """Find out what became of a change that was sent; the change as it stands then.

    Whether the provider still works on it is asked before the look: so what it finished in between is seen.
    """
    with runtime.sessions() as session:
        change, asked_at = session.get_one(SeatChange, change_id), account.now(session)
    if change.state == ChangeState.SUBMITTED:
        # Before that, no answer would be believed.
        is_settled = change.sent_at is not None and asked_at - change.sent_at >= _SETTLING
        came_to_nothing = is_settled and _can_be_asked_for_again(runtime, change)
        resync_subscription(runtime, change.subscription_id, patience=PATIENCE, caller=caller)
        _conclude(runtime, change_id, asked_at, came_to_nothing=came_to_nothing)
    elif change.state == ChangeState.SCHEDULED:
        if change.code == seat_change.TAKEN_BACK:  # it is still there
            with runtime.sessions.begin() as session:
                seat_change.expect_again(session, change_id, _later_and_later)
            _drop(runtime, change)
        elif change.missed_at is not None:  # once more, lest the last look came at a bad moment
            resync_subscription(runtime, change.subscription_id, patience=PATIENCE, caller=caller)
        _take_back_if_outgrown(runtime, change_id)
    with runtime.sessions() as session:
        return session.get_one(SeatChange, change_id)


def _later_and_later(attempt: int) -> timedelta:
    """Two seconds, four, eight and so on, and every hour in the end."""
    return min(timedelta(seconds=2.0 ** min(attempt, 12)), _EVERY_HOUR)


def _can_be_asked_for_again(runtime: Runtime, change: SeatChange) -> bool:
    """Whether the provider would take the same change now, which it does not while it waits for a payment.

    A preview changes nothing, and is refused for the same reasons as a change. Any refusal leaves open
    what became of ours.
    """
    try:
        runtime.provider.preview_change(plan_of(change))
    except ProviderError:
        return False
    return True


def _conclude(runtime: Runtime, change_id: str, asked_at: datetime, *, came_to_nothing: bool) -> None:
    """Nothing came of it if it could be asked for again, and a look after that still did not show it."""
    with runtime.sessions.begin() as session:
        change = seat_change.lock(session, change_id)
        if change.state != ChangeState.SUBMITTED or change.sent_at is None:
            return
        kept = session.get_one(Subscription, change.subscription_id)
        was_seen = kept.verified_at is not None and kept.verified_at >= asked_at
        age = asked_at - change.sent_at
        if (came_to_nothing and was_seen) or age >= _LONGEST:
            code = seat_change.OVERTAKEN if _was_overtaken(change, kept) else seat_change.NOT_APPLIED
            helps = code == seat_change.NOT_APPLIED
            failed_changes.fail_unheard(session, change, code, _UNSEEN[code], helps=helps)
            return
        change.attempts += 1
        change.next_at = account.now(session) + timedelta(seconds=max(_LOOK_AGAIN, backoff(change.attempts)))


def _was_overtaken(change: SeatChange, kept: Subscription) -> bool:
    """Whether the cart is no longer the one that the change was to be made of."""
    snapshot = None if kept.snapshot is None else kept_snapshot(kept.snapshot)
    if snapshot is None or snapshot.addons is None:
        return False
    return bool(cart_to_json(Cart.of(snapshot)) != change.shown["cart"]["before"])


def cancel(runtime: Runtime, account_id: str, change_id: str) -> SeatChange:
    """Take a scheduled change back, or a preview that is not wanted; the change as it stands then.

    Raises `SeatChangeNotFound`, `NotCancellable`, and what the provider raises.
    """
    with runtime.transaction() as session:
        lock(session, account_id)
        change = seat_change.get(session, account_id, change_id)
        if change.state == ChangeState.PREVIEWED:
            seat_change.move(session, change, ChangeState.EXPIRED)
        is_ours = _is_of(session, change)
    if change.state == ChangeState.SCHEDULED and is_ours:
        _drop(runtime, change)
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


def _drop(runtime: Runtime, change: SeatChange) -> None:
    """Take ours back, and nothing that the customer has scheduled in its place meanwhile."""
    look_at(runtime, change.subscription_id)
    with runtime.sessions() as session:
        trace = trace_of(plan_of(change), snapshot_of(session, change.subscription_id))
    if trace is not Trace.SCHEDULED:
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
    resync_subscription(runtime, change.subscription_id, patience=PATIENCE, caller=Caller.INTERACTIVE)


def _take_back_if_outgrown(runtime: Runtime, change_id: str) -> None:
    """A reduction that people have outgrown since is not carried out: they would lose their seats."""
    with runtime.transaction() as session:
        locked = lock(session, session.get_one(SeatChange, change_id).account_id)
        kept = seat_change.lock(session, change_id)
        is_going = kept.missed_at is not None or kept.code == seat_change.TAKEN_BACK
        if kept.state != ChangeState.SCHEDULED or is_going:
            return
        kept.next_at = locked.now + _EVERY_HOUR
        is_outgrown = _is_of(session, kept) and bool(too_many(locked, steps_of(kept), kept.release))
    if is_outgrown:
        log.info("a scheduled reduction was outgrown", extra={"change": change_id})
        _drop(runtime, kept)
