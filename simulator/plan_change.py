"""Plan changes: at once, waiting for money, or at the next billing date."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from simulator.catalog import Catalog
from simulator.events import EventType
from simulator.lifecycle import Outcome, changed, enter, expire, next_period, recover
from simulator.periods import later
from simulator.plan_request import PlanRequest
from simulator.refusal import Refusal
from simulator.subscription import (
    Cart,
    PendingChange,
    ScheduledAddon,
    ScheduledChange,
    Status,
    Subscription,
)


class Payment(StrEnum):
    """How the charge of a plan change goes."""

    SUCCEEDS = "succeeds"
    WAITS = "waits"
    FAILS = "fails"


def with_cart(subscription: Subscription, cart: Cart, catalog: Catalog) -> Subscription:
    """The subscription for another cart, at today's prices."""
    return replace(
        subscription,
        product_id=cart.product_id,
        quantity=cart.quantity,
        addons=cart.addons,
        recurring_pre_tax_amount=catalog.price(cart),
    )


def change(subscription: Subscription, cart: Cart, catalog: Catalog) -> Outcome:
    """The cart is replaced, whoever asked for it."""
    return changed(with_cart(subscription, cart, catalog), EventType.PLAN_CHANGED)


def change_now(
    subscription: Subscription, now: datetime, request: PlanRequest, catalog: Catalog, payment: Payment
) -> Outcome:
    """Apply the change, keep it until its payment settles, or refuse it quietly, as the request wants."""
    prevents = request.on_payment_failure == "prevent_change"
    if not request.charges or payment == Payment.SUCCEEDS:
        return _applied(subscription, now, request.cart, catalog, keeps_cycle=request.keeps_cycle)
    if prevents and payment == Payment.WAITS:
        pending = PendingChange(cart=request.cart, keeps_cycle=request.keeps_cycle)
        return Outcome(replace(subscription, pending_change=pending), ())
    if prevents:
        return Outcome(subscription, ())
    applied = _applied(subscription, now, request.cart, catalog, keeps_cycle=request.keeps_cycle)
    if payment == Payment.WAITS:
        return applied
    held = enter(applied.subscription, Status.ON_HOLD)
    return changed(held, EventType.PLAN_CHANGED, EventType.ON_HOLD)


def settle(subscription: Subscription, now: datetime, catalog: Catalog, payment: Payment) -> Outcome:
    """The payment a change has been waiting for came in, or did not."""
    pending = subscription.pending_change
    if pending is None:
        raise Refusal.conflict("NO_PENDING_PLAN_CHANGE", "No plan change waits for its payment")
    settled = replace(subscription, pending_change=None)
    if payment != Payment.SUCCEEDS:
        return Outcome(settled, ())
    return _applied(settled, now, pending.cart, catalog, keeps_cycle=pending.keeps_cycle)


def _applied(
    subscription: Subscription, now: datetime, cart: Cart, catalog: Catalog, *, keeps_cycle: bool
) -> Outcome:
    """The change is real; it takes a schedule with it and starts a new period unless the mode keeps it."""
    onto = with_cart(replace(subscription, scheduled_change=None), cart, catalog)
    if not keeps_cycle:
        end = later(now, onto.payment_frequency_count, onto.payment_frequency_interval)
        onto = replace(onto, previous_billing_date=now, next_billing_date=end)
    return changed(onto, EventType.PLAN_CHANGED)


def schedule(
    subscription: Subscription, now: datetime, cart: Cart, catalog: Catalog, change_id: str
) -> Outcome:
    """A wish for the next billing date; nothing but `scheduled_change` moves."""
    product = catalog.product(cart.product_id)
    waiting = ScheduledChange(
        id=change_id,
        product_id=cart.product_id,
        product_name=product.name,
        product_description=product.description,
        quantity=cart.quantity,
        addons=tuple(
            ScheduledAddon(
                addon_id=units.addon_id, name=catalog.addon(units.addon_id).name, quantity=units.quantity
            )
            for units in cart.addons
        ),
        created_at=now,
        effective_at=subscription.next_billing_date,
    )
    return changed(replace(subscription, scheduled_change=waiting))


def drop_schedule(subscription: Subscription) -> Outcome:
    if subscription.scheduled_change is None:
        raise Refusal(404, "SCHEDULED_PLAN_CHANGE_NOT_FOUND", "No plan change is scheduled")
    return changed(replace(subscription, scheduled_change=None))


def renew(subscription: Subscription, now: datetime, catalog: Catalog) -> Outcome:
    """The next billing date has come: the end, a scheduled change, a paid debt, or one more period."""
    if subscription.cancel_at_next_billing_date:
        return expire(subscription, now)
    if subscription.status in {Status.PAST_DUE, Status.ON_HOLD}:
        return recover(subscription, now)
    if subscription.status != Status.ACTIVE:
        raise Refusal.conflict("SUBSCRIPTION_INACTIVE", f"The subscription is {subscription.status}")
    renewed = next_period(subscription)
    if renewed.scheduled_change is None:
        return changed(renewed, EventType.RENEWED)
    moved = with_cart(replace(renewed, scheduled_change=None), renewed.scheduled_change.cart, catalog)
    return changed(moved, EventType.PLAN_CHANGED, EventType.RENEWED)
