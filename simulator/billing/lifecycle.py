"""The rules of a subscription's life: from one state to the next, and the events that follow."""

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
    """The new state and what is announced about it.

    `charge` is one the rule has made itself; `unpaid` is the plan whose price could not be collected.
    """

    subscription: Subscription
    events: tuple[str, ...]
    charge: Charge | None = None
    unpaid: Subscription | None = None


Rule = Callable[[Subscription, datetime], Outcome]


def changed(subscription: Subscription, *events: str) -> Outcome:
    """Every change of any field is announced as `updated` besides its own event."""
    return Outcome(subscription, (*events, EventType.UPDATED))


def enter(subscription: Subscription, status: str, **changes: Any) -> Subscription:
    """In the new status; the marks of the old one are wiped."""
    unmarked = {"paused_at": None, "past_due_ends_at": None, "pending_change": None}
    return replace(subscription, **{**unmarked, "status": status, **changes})


def next_period(subscription: Subscription) -> Subscription:
    """The period that starts where the present one ends."""
    start = subscription.next_billing_date
    end = later(start, subscription.payment_frequency_count, subscription.payment_frequency_interval)
    return replace(subscription, previous_billing_date=start, next_billing_date=end)


def touch(subscription: Subscription, _now: datetime) -> Outcome:
    """Nothing but `updated`."""
    return changed(subscription)


def activate(subscription: Subscription, _now: datetime) -> Outcome:
    """The first payment; a free trial starts without one."""
    alive = enter(subscription, Status.ACTIVE)
    if subscription.trial_period_days and not subscription.trial_amount:
        return changed(alive, EventType.ACTIVE)
    return changed(alive, EventType.ACTIVE, EventType.RENEWED)


def recover(subscription: Subscription, _now: datetime) -> Outcome:
    """The debt is paid. Only a return from `on_hold` is announced as `active` again."""
    alive = next_period(enter(subscription, Status.ACTIVE))
    if subscription.status == Status.ON_HOLD:
        return changed(alive, EventType.ACTIVE, EventType.RENEWED)
    return changed(alive, EventType.RENEWED)


def hold(subscription: Subscription, _now: datetime) -> Outcome:
    return changed(enter(subscription, Status.ON_HOLD), EventType.ON_HOLD)


def past_due(subscription: Subscription, now: datetime, grace: timedelta = GRACE) -> Outcome:
    late = enter(subscription, Status.PAST_DUE, past_due_ends_at=now + grace)
    return changed(late, EventType.PAST_DUE)


def pause(subscription: Subscription, now: datetime) -> Outcome:
    return changed(enter(subscription, Status.PAUSED, paused_at=now), EventType.PAUSED)


def unpause(subscription: Subscription, now: datetime) -> Outcome:
    """Both dates move later by the length of the pause."""
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
    """At once. The add-ons stay listed, as nothing says that the provider clears them."""
    ended = enter(
        subscription,
        Status.CANCELLED,
        cancelled_at=now,
        cancelled_by=by,
        scheduled_change=None,
    )
    return changed(ended, EventType.CANCELLED)


def cancel_later(subscription: Subscription, _now: datetime, by: CancelledBy = MERCHANT) -> Outcome:
    """At the next billing date: `cancelled` is announced although the status stays as it is."""
    leaving = replace(subscription, cancel_at_next_billing_date=True, cancelled_by=by)
    return changed(leaving, EventType.PLAN_CHANGED, EventType.CANCELLED)


def stay(subscription: Subscription, _now: datetime) -> Outcome:
    """A scheduled cancellation is taken back."""
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
    """The end of the term, and of a scheduled cancellation."""
    cancelled_at = now if subscription.cancel_at_next_billing_date else subscription.cancelled_at
    ended = enter(subscription, Status.EXPIRED, cancelled_at=cancelled_at, scheduled_change=None)
    return changed(ended, EventType.EXPIRED)


def replace_payment_method(subscription: Subscription, now: datetime, method_id: str) -> Outcome:
    """A new card; on a subscription that is on hold it pays the debt at once."""
    equipped = replace(subscription, payment_method_id=method_id, has_payment_method=True)
    outcome = recover(equipped, now) if equipped.status == Status.ON_HOLD else changed(equipped)
    return Outcome(outcome.subscription, (EventType.UPDATE_PAYMENT_METHOD, *outcome.events))


def wait_for_mandate(subscription: Subscription, _now: datetime) -> Outcome:
    return changed(enter(subscription, Status.PENDING))


def come_alive(subscription: Subscription, now: datetime) -> Outcome:
    """Active again, by the road that leads there from the present status."""
    return ROADS_TO_ACTIVE.get(subscription.status, activate)(subscription, now)


ROADS_TO_ACTIVE: Mapping[str, Rule] = {
    Status.ACTIVE: touch,
    Status.PAUSED: unpause,
    Status.ON_HOLD: recover,
    Status.PAST_DUE: recover,
}
ENTRANCES: Mapping[str, Rule] = {
    Status.PENDING: wait_for_mandate,
    Status.ACTIVE: come_alive,
    Status.PAST_DUE: past_due,
    Status.ON_HOLD: hold,
    Status.PAUSED: pause,
    Status.CANCELLED: cancel,
    Status.FAILED: fail,
    Status.EXPIRED: expire,
}


def to_status(status: str) -> Rule:
    """The rule that enters a status; a word the provider never used is entered without ceremony."""

    def enter_unknown(subscription: Subscription, _now: datetime) -> Outcome:
        return changed(enter(subscription, status))

    return ENTRANCES.get(status, enter_unknown)
