"""Seat changes: confirm exactly what was previewed, and read until it is known what came of it.

Nothing is provisioned on the provider's word that it agreed: seats are there once a snapshot shows them
(`services.ledger.sent_changes`). A write is sent once. When its answer is lost, the subscription is read.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Final

from domain.cart import Cart
from domain.errors import (
    ProviderError,
)
from domain.purchase.steps import cart_to_json
from models import account, seat_change
from models.seat_change import ChangeState, SeatChange
from models.subscription import Subscription, snapshot_from_json
from providers.base import Caller
from runtime.wiring import Runtime
from services.ledger import failed_changes
from services.ledger.sent_changes import plan_of
from services.purchases.cancel import ONCE_AN_HOUR, drop, take_back_if_outgrown
from services.purchases.refresh import sync_now
from services.sync.backoff import backoff

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 50
# A write whose answer was lost may still arrive: longer than a confirmation takes to send it, and than any
# request of ours can take.
_SETTLING: Final = timedelta(minutes=1)
# The longest that a payment may take (two days for Indian cards, Dodo documentation, subscriptions), and
# then some: nothing is waited for without end.
_LONGEST: Final = timedelta(days=4)
LOOK_AGAIN: Final = 2.0
_UNSEEN: Final = {
    seat_change.NOT_APPLIED: "The provider shows no trace of the change: its payment failed, or it never "
    "arrived. Nothing has changed; preview again if it is still wanted.",
    seat_change.OVERTAKEN: "Somebody else has changed the subscription since, so it does not show whether "
    "this change was made before. The payments at the provider tell: one for it has its id as "
    "`seatsync_change_id`. Preview again if it is still wanted.",
}


def settle_due(runtime: Runtime, *, until: float) -> None:
    """Settle what is due, until the monotonic clock reaches `until`; one failure stops no other."""
    with runtime.sessions() as session:
        due = seat_change.due_changes(session, limit=_MOST_AT_ONCE)
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
        sync_now(runtime, change.subscription_id, caller=caller)
        _conclude(runtime, change_id, asked_at, came_to_nothing=came_to_nothing)
    elif change.state == ChangeState.SCHEDULED:
        if change.code == seat_change.TAKEN_BACK:  # it is still there
            with runtime.sessions.begin() as session:
                seat_change.retry_cancellation(session, change_id, _later_and_later)
            drop(runtime, change)
        elif change.missed_at is not None:  # once more, lest the last look came at a bad moment
            sync_now(runtime, change.subscription_id, caller=caller)
        take_back_if_outgrown(runtime, change_id)
    with runtime.sessions() as session:
        return session.get_one(SeatChange, change_id)


def _later_and_later(attempt: int) -> timedelta:
    """Two seconds, four, eight and so on, and every hour in the end."""
    return min(timedelta(seconds=2.0 ** min(attempt, 12)), ONCE_AN_HOUR)


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
        change.next_at = account.now(session) + timedelta(seconds=max(LOOK_AGAIN, backoff(change.attempts)))


def _was_overtaken(change: SeatChange, kept: Subscription) -> bool:
    """Whether the cart is no longer the one that the change was to be made of."""
    snapshot = None if kept.snapshot is None else snapshot_from_json(kept.snapshot)
    if snapshot is None or snapshot.addons is None:
        return False
    return bool(cart_to_json(Cart.of(snapshot)) != change.shown["cart"]["before"])
