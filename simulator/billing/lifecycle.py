"""The life cycle of a subscription: rules for its changes of status, and the events they cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from simulator.billing.charge import Charge
from simulator.billing.periods import later
from simulator.billing.subscription import CancelledBy, Status, Subscription
from simulator.webhooks.events import EventType

GRACE = timedelta(days=3)
MERCHANT = CancelledBy(actor_type="merchant_user")
ENDED = frozenset({Status.CANCELLED, Status.FAILED, Status.EXPIRED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a rule: the new state and the events about it.

    `charge` is a charge made by the rule; `unpaid` is the subscription whose price could not be collected.
    """

    subscription: Subscription
    events: tuple[str, ...]
    charge: Charge | None = None
    unpaid: Subscription | None = None


Rule = Callable[[Subscription, datetime], Outcome]


def changed(subscription: Subscription, *events: str) -> Outcome:
    """The outcome of a change, which causes `updated` besides its own events."""
    return Outcome(subscription, (*events, EventType.UPDATED))


def enter(subscription: Subscription, status: str, **changes: Any) -> Subscription:
    """The subscription in the new status, without the fields that belong to the old one."""
    cleared = {"paused_at": None, "past_due_ends_at": None, "pending_change": None}
    return replace(subscription, **{**cleared, "status": status, **changes})


def next_period(subscription: Subscription) -> Subscription:
    """The subscription in the next billing period."""
    start = subscription.next_billing_date
    end = later(start, subscription.payment_frequency_count, subscription.payment_frequency_interval)
    return replace(subscription, previous_billing_date=start, next_billing_date=end)


def touch(subscription: Subscription, _now: datetime) -> Outcome:
    """Change nothing, but cause `updated`."""
    return changed(subscription)


def activate(subscription: Subscription, _now: datetime) -> Outcome:
    """The first payment succeeds. A free trial starts without a payment."""
    active = enter(subscription, Status.ACTIVE)
    if subscription.trial_period_days and not subscription.trial_amount:
        return changed(active, EventType.ACTIVE)
    return changed(active, EventType.ACTIVE, EventType.RENEWED)


def recover(subscription: Subscription, _now: datetime) -> Outcome:
    """The overdue amount is paid. The event `active` is sent only on a return from `on_hold`."""
    active = next_period(enter(subscription, Status.ACTIVE))
    if subscription.status == Status.ON_HOLD:
        return changed(active, EventType.ACTIVE, EventType.RENEWED)
    return changed(active, EventType.RENEWED)


def hold(subscription: Subscription, _now: datetime) -> Outcome:
    return changed(enter(subscription, Status.ON_HOLD), EventType.ON_HOLD)


def past_due(subscription: Subscription, now: datetime, grace: timedelta = GRACE) -> Outcome:
    late = enter(subscription, Status.PAST_DUE, past_due_ends_at=now + grace)
    return changed(late, EventType.PAST_DUE)


def pause(subscription: Subscription, now: datetime) -> Outcome:
    return changed(enter(subscription, Status.PAUSED, paused_at=now), EventType.PAUSED)


def unpause(subscription: Subscription, now: datetime) -> Outcome:
    """End a pause. The next billing date and the end of the term move by its length."""
    length = now - (subscription.paused_at or now)
    expires_at = subscription.expires_at
    running = enter(
        subscription,
        Status.ACTIVE,
        next_billing_date=subscription.next_billing_date + length,
        expires_at=expires_at + length if expires_at else None,
    )
    return changed(running, EventType.UNPAUSED)


def cancel(subscription: Subscription, now: datetime, by: CancelledBy = MERCHANT) -> Outcome:
    """Cancel at once. The add-ons stay, since the provider does not document that it removes them."""
    ended = enter(
        subscription,
        Status.CANCELLED,
        cancelled_at=now,
        cancelled_by=by,
        scheduled_change=None,
    )
    return changed(ended, EventType.CANCELLED)


def cancel_later(subscription: Subscription, _now: datetime, by: CancelledBy = MERCHANT) -> Outcome:
    """Cancel at the next billing date. The event `cancelled` is sent now, although the status does not
    change.
    """
    leaving = replace(subscription, cancel_at_next_billing_date=True, cancelled_by=by)
    return changed(leaving, EventType.PLAN_CHANGED, EventType.CANCELLED)


def stay(subscription: Subscription, _now: datetime) -> Outcome:
    """Undo a scheduled cancellation."""
    staying = replace(
        subscription,
        cancel_at_next_billing_date=False,
        cancelled_by=None,
        cancellation_comment=None,
        cancellation_feedback=None,
    )
    return changed(staying, EventType.PLAN_CHANGED)


def fail(subscription: Subscription, _now: datetime) -> Outcome:
    return changed(enter(subscription, Status.FAILED), EventType.FAILED)


def expire(subscription: Subscription, now: datetime) -> Outcome:
    """The subscription ends, by its term or by a scheduled cancellation."""
    cancelled_at = now if subscription.cancel_at_next_billing_date else subscription.cancelled_at
    ended = enter(subscription, Status.EXPIRED, cancelled_at=cancelled_at, scheduled_change=None)
    return changed(ended, EventType.EXPIRED)


def replace_payment_method(subscription: Subscription, now: datetime, method_id: str) -> Outcome:
    """Replace the card. On a subscription on hold, it pays the overdue amount at once."""
    updated = replace(subscription, payment_method_id=method_id, has_payment_method=True)
    outcome = recover(updated, now) if updated.status == Status.ON_HOLD else changed(updated)
    return Outcome(outcome.subscription, (EventType.UPDATE_PAYMENT_METHOD, *outcome.events))


def wait_for_mandate(subscription: Subscription, _now: datetime) -> Outcome:
    return changed(enter(subscription, Status.PENDING))


def become_active(subscription: Subscription, now: datetime) -> Outcome:
    """Become active, by the rule for the current status."""
    return TO_ACTIVE.get(subscription.status, activate)(subscription, now)


TO_ACTIVE: Mapping[str, Rule] = {
    Status.ACTIVE: touch,
    Status.PAUSED: unpause,
    Status.ON_HOLD: recover,
    Status.PAST_DUE: recover,
}
TO_STATUS: Mapping[str, Rule] = {
    Status.PENDING: wait_for_mandate,
    Status.ACTIVE: become_active,
    Status.PAST_DUE: past_due,
    Status.ON_HOLD: hold,
    Status.PAUSED: pause,
    Status.CANCELLED: cancel,
    Status.FAILED: fail,
    Status.EXPIRED: expire,
}


def to_status(status: str) -> Rule:
    """The rule that enters a status. An unknown status is set without other effects."""

    def enter_unknown(subscription: Subscription, _now: datetime) -> Outcome:
        return changed(enter(subscription, status))

    return TO_STATUS.get(status, enter_unknown)
