"""Plan changes scheduled for the next billing date."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from simulator.billing.catalog import Catalog
from simulator.billing.lifecycle import Outcome, changed
from simulator.billing.plan_request import PlanRequest
from simulator.billing.subscription import ScheduledAddon, ScheduledChange, Subscription
from simulator.refusal import Refusal


def schedule(
    subscription: Subscription, now: datetime, request: PlanRequest, catalog: Catalog, change_id: str
) -> Outcome:
    """Schedule a change for the next billing date. Only `scheduled_change` changes now."""
    cart = request.cart
    product = catalog.product(cart.product_id)
    scheduled = ScheduledChange(
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
    return changed(
        replace(subscription, scheduled_change=scheduled, prevents_scheduled_change=request.prevents_change)
    )


def drop_schedule(subscription: Subscription) -> Outcome:
    if subscription.scheduled_change is None:
        raise Refusal(404, "SCHEDULED_PLAN_CHANGE_NOT_FOUND", "No plan change is scheduled")
    return changed(replace(subscription, scheduled_change=None))
