"""What customers can do with their subscription in the provider's portal."""

from __future__ import annotations

from datetime import datetime

from simulator.billing import lifecycle
from simulator.billing.catalog import Catalog
from simulator.billing.lifecycle import Outcome
from simulator.billing.plan_request import Moment, PlanRequest
from simulator.billing.subscription import CancelledBy, Cart, Status, Subscription
from simulator.refusal import Refusal


def check_mode(wanted: PlanRequest) -> None:
    """Refuse `do_not_bill`, which customers cannot choose."""
    if wanted.proration_billing_mode == "do_not_bill":
        raise Refusal.unprocessable(
            "DO_NOT_BILL_NOT_ALLOWED_IN_CUSTOMER_PORTAL", "The portal always bills a plan change"
        )


def default_moment(before: Cart, after: Cart, catalog: Catalog) -> Moment:
    """The portal's default: upgrades at once, downgrades at the next billing date."""
    return "immediately" if catalog.price(after) >= catalog.price(before) else "next_billing_date"


def cancel_later(subscription: Subscription, now: datetime) -> Outcome:
    _check_status(subscription, Status.ACTIVE)
    customer = subscription.customer
    by = CancelledBy(actor_type="customer", email=customer.email, name=customer.name)
    return lifecycle.cancel_later(subscription, now, by)


def stay(subscription: Subscription, now: datetime) -> Outcome:
    if not subscription.cancel_at_next_billing_date:
        raise Refusal.unprocessable("INVALID_REQUEST_BODY", "No cancellation is scheduled")
    return lifecycle.stay(subscription, now)


def pause(subscription: Subscription, now: datetime) -> Outcome:
    _check_status(subscription, Status.ACTIVE)
    return lifecycle.pause(subscription, now)


def unpause(subscription: Subscription, now: datetime) -> Outcome:
    _check_status(subscription, Status.PAUSED)
    return lifecycle.unpause(subscription, now)


def _check_status(subscription: Subscription, wanted: str) -> None:
    if subscription.status != wanted:
        raise Refusal.unprocessable("SUBSCRIPTION_INACTIVE", f"The subscription is {subscription.status}")
