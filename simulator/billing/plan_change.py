"""Plan changes: made at once, waiting for a payment, or at the renewal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from simulator.billing.catalog import Catalog
from simulator.billing.charge import Charge, Reason, Result
from simulator.billing.lifecycle import Outcome, changed, enter, expire, next_period, recover
from simulator.billing.plan_request import PlanRequest
from simulator.billing.quote import Quote, moved, with_cart
from simulator.billing.subscription import Cart, PendingChange, Status, Subscription
from simulator.refusal import Refusal
from simulator.webhooks.events import EventType


class Payment(StrEnum):
    """The course of the payment of a plan change."""

    SUCCEEDS = "succeeds"
    WAITS = "waits"
    FAILS = "fails"


RESULTS: Mapping[Payment, Result] = {
    Payment.SUCCEEDS: Result.SUCCEEDED,
    Payment.WAITS: Result.PROCESSING,
    Payment.FAILS: Result.FAILED,
}


def change(subscription: Subscription, cart: Cart, catalog: Catalog) -> Outcome:
    """Replace the cart without checks and charges."""
    return changed(with_cart(subscription, cart, catalog), EventType.PLAN_CHANGED)


def change_now(
    quote: Quote, now: datetime, request: PlanRequest, payment: Payment, payment_id: str
) -> Outcome:
    """Apply the change, let it wait for its payment, or drop it without an event, depending on the request.

    If nothing is due, the payment succeeds.
    """
    course = payment if quote.due.total else Payment.SUCCEEDS
    charge = _charge(quote, now, request, payment_id, RESULTS[course])
    if course == Payment.SUCCEEDS:
        applied = changed(quote.after, EventType.PLAN_CHANGED)
        return applied if quote.due.is_nothing else replace(applied, charge=charge)
    if course == Payment.WAITS:
        return _waiting(quote, request, charge)
    if request.prevents_change:
        return Outcome(quote.before, (), charge)
    held = enter(quote.after, Status.ON_HOLD)
    return replace(changed(held, EventType.PLAN_CHANGED, EventType.ON_HOLD), charge=charge)


def _charge(quote: Quote, now: datetime, request: PlanRequest, payment_id: str, result: Result) -> Charge:
    """The charge, with the metadata of the request, or else of the subscription."""
    reason = Reason.PLAN_CHANGE
    charge = quote.due.charge(quote.before, now, payment_id=payment_id, reason=reason, result=result)
    return charge if request.metadata is None else replace(charge, metadata=request.metadata)


def _waiting(quote: Quote, request: PlanRequest, charge: Charge) -> Outcome:
    pending = PendingChange(
        cart=request.cart,
        keeps_cycle=request.keeps_cycle,
        is_applied=not request.prevents_change,
        charge=charge,
    )
    if request.prevents_change:
        return Outcome(replace(quote.before, pending_change=pending), (), charge)
    applied = changed(replace(quote.after, pending_change=pending), EventType.PLAN_CHANGED)
    return replace(applied, charge=charge)


def settle(subscription: Subscription, now: datetime, catalog: Catalog, payment: Payment) -> Outcome:
    """Complete the payment that a plan change is waiting for, or let it fail."""
    pending = subscription.pending_change
    if pending is None:
        raise Refusal.conflict("NO_PENDING_PLAN_CHANGE", "No plan change waits for its payment")
    is_paid = payment == Payment.SUCCEEDS
    charge = replace(pending.charge, result=Result.SUCCEEDED if is_paid else Result.FAILED)
    settled = replace(subscription, pending_change=None)
    if is_paid == pending.is_applied:
        return Outcome(settled, (), charge)
    if pending.is_applied:
        return replace(changed(enter(settled, Status.ON_HOLD), EventType.ON_HOLD), charge=charge)
    onto = moved(settled, now, pending.cart, catalog, keeps_cycle=pending.keeps_cycle)
    return replace(changed(onto, EventType.PLAN_CHANGED), charge=charge)


def renew(
    subscription: Subscription, now: datetime, catalog: Catalog, payment: Payment = Payment.SUCCEEDS
) -> Outcome:
    """The next billing date: ends the subscription, makes a scheduled change, pays an overdue amount, or
    renews.
    """
    if subscription.cancel_at_next_billing_date:
        return expire(subscription, now)
    if subscription.status in {Status.PAST_DUE, Status.ON_HOLD}:
        return recover(subscription, now)
    if subscription.status != Status.ACTIVE:
        raise Refusal.conflict("SUBSCRIPTION_INACTIVE", f"The subscription is {subscription.status}")
    present = replace(subscription, scheduled_change=None)
    renewed = next_period(present)
    if subscription.scheduled_change is None:
        return changed(renewed, EventType.RENEWED)
    # Another product's first period has its own length.
    onto = next_period(with_cart(present, subscription.scheduled_change.cart, catalog))
    if payment != Payment.FAILS:
        return changed(onto, EventType.PLAN_CHANGED, EventType.RENEWED)
    if subscription.prevents_scheduled_change:
        return replace(changed(renewed, EventType.RENEWED), unpaid=onto)
    held = enter(onto, Status.ON_HOLD)
    return replace(changed(held, EventType.PLAN_CHANGED, EventType.ON_HOLD), unpaid=onto)
