"""Settle seat changes that were sent: sync the subscription until it shows the outcome.

The provider's 200 is not the outcome: the seats count once a snapshot shows them, see
`services.ledger.sent_changes`. A change is sent once; if its response was lost, only syncs decide.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Final

from domain.cart import Cart
from domain.provider_errors import ProviderError
from domain.purchase.steps import cart_to_json
from models import account, seat_change
from models.seat_change import ChangeState, SeatChange
from models.subscription import Subscription, snapshot_from_json
from providers.base import Priority
from runtime.wiring import Runtime
from services.ledger import failed_changes
from services.ledger.sent_changes import plan_of
from services.purchases.cancel import ONCE_AN_HOUR, cancel_if_seats_in_use, drop_at_provider
from services.purchases.refresh import sync_now
from services.sync.backoff import backoff

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 50
# A request whose response was lost may still arrive at the provider. Longer than any request can take.
_MAY_STILL_ARRIVE: Final = timedelta(minutes=1)
# Twice the longest that a payment may take (two days for Indian cards, Dodo documentation, subscriptions).
_LONGEST_PAYMENT: Final = timedelta(days=4)
SHORTEST_RETRY_SECONDS: Final = 2.0
_FAILURE_MESSAGES: Final = {
    seat_change.NOT_APPLIED: "The subscription does not show the change: its payment failed, or the request "
    "never arrived. Nothing has changed. Preview again if it is still wanted.",
    seat_change.OVERTAKEN: "Somebody else has changed the subscription since, so it cannot be seen whether "
    "this change was applied before. Check the payments at the provider: one for this change has its id in "
    "the metadata, as `seatsync_change_id`. Preview again if it is still wanted.",
}


def settle_due(runtime: Runtime, *, until: float) -> None:
    """Settle the changes that are due, until the monotonic time `until`. A failure does not stop the next."""
    with runtime.sessions() as session:
        due = seat_change.due_changes(session, limit=_MOST_AT_ONCE)
    for change_id in due:
        if time.monotonic() >= until:
            return
        with runtime.sessions.begin() as session:
            # Before anything can fail or kill the process, so that the others have their turn first.
            seat_change.postpone(session, change_id, timedelta(seconds=backoff(10)))
        try:
            settle(runtime, change_id)
        except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
            log.error(  # noqa: TRY400
                "seat change not settled", extra={"change_id": change_id, "error": type(error).__name__}
            )


def settle(runtime: Runtime, change_id: str, *, priority: Priority = Priority.WEBHOOK) -> SeatChange:
    """Try to find the outcome of a change that was sent, and return the change as it stands then."""
    with runtime.sessions() as session:
        change, now = session.get_one(SeatChange, change_id), account.now(session)
    if change.state == ChangeState.SUBMITTED:
        _settle_submitted(runtime, change, now, priority)
    elif change.state == ChangeState.SCHEDULED:
        _settle_scheduled(runtime, change, priority)
    with runtime.sessions() as session:
        return session.get_one(SeatChange, change_id)


def _settle_submitted(runtime: Runtime, change: SeatChange, now: datetime, priority: Priority) -> None:
    has_arrived = change.sent_at is not None and now - change.sent_at >= _MAY_STILL_ARRIVE
    # Before the sync, which then shows a change that was completed in between.
    is_not_under_way = has_arrived and _would_be_accepted_again(runtime, change)
    sync_now(runtime, change.subscription_id, priority=priority)
    _conclude(runtime, change.id, now, is_not_under_way=is_not_under_way)


def _settle_scheduled(runtime: Runtime, change: SeatChange, priority: Priority) -> None:
    if change.code == seat_change.TAKEN_BACK:  # it was cancelled, but the provider still shows it
        with runtime.sessions.begin() as session:
            seat_change.retry_cancellation(session, change.id, _cancellation_pause)
        drop_at_provider(runtime, change)
    elif change.missed_at is not None:  # the last snapshot did not show it; another must confirm that
        sync_now(runtime, change.subscription_id, priority=priority)
    cancel_if_seats_in_use(runtime, change.id)


def _cancellation_pause(attempt: int) -> timedelta:
    """Two seconds, doubled with each attempt, up to an hour."""
    return min(timedelta(seconds=2.0 ** min(attempt, 12)), ONCE_AN_HOUR)


def _would_be_accepted_again(runtime: Runtime, change: SeatChange) -> bool:
    """True if the provider would accept the same change now, which it does not while a payment is pending.

    Found out with a preview, which changes nothing and is refused for the same reasons as a change. After any
    error it stays unknown whether ours is still under way.
    """
    try:
        runtime.provider.preview_change(plan_of(change))
    except ProviderError:
        return False
    return True


def _conclude(runtime: Runtime, change_id: str, checked_at: datetime, *, is_not_under_way: bool) -> None:
    """Fail the change if it was not under way at `checked_at` and a later snapshot does not show it either,
    or if it has taken too long. Otherwise check again later.
    """
    with runtime.sessions.begin() as session:
        change = seat_change.lock_with_account(session, change_id)
        if change.state != ChangeState.SUBMITTED or change.sent_at is None:
            return
        subscription = session.get_one(Subscription, change.subscription_id)
        was_synced = subscription.verified_at is not None and subscription.verified_at >= checked_at
        age = checked_at - change.sent_at
        if (is_not_under_way and was_synced) or age >= _LONGEST_PAYMENT:
            code = seat_change.OVERTAKEN if _was_overtaken(change, subscription) else seat_change.NOT_APPLIED
            helps = code == seat_change.NOT_APPLIED
            failed_changes.fail(session, change, code, _FAILURE_MESSAGES[code], helps=helps)
            return
        change.attempts += 1
        pause = max(SHORTEST_RETRY_SECONDS, backoff(change.attempts))
        change.next_at = account.now(session) + timedelta(seconds=pause)


def _was_overtaken(change: SeatChange, subscription: Subscription) -> bool:
    """True if the cart is not the one that the change started from."""
    snapshot = None if subscription.snapshot is None else snapshot_from_json(subscription.snapshot)
    if snapshot is None or snapshot.addons is None:
        return False
    return bool(cart_to_json(Cart.of(snapshot)) != change.shown["cart"]["before"])
