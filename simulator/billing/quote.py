"""Quotes of plan changes: the result and the cost. A preview shows the quote, a change applies it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from simulator.billing.amount_due import Due, due
from simulator.billing.catalog import Catalog
from simulator.billing.periods import later
from simulator.billing.plan_request import PlanRequest
from simulator.billing.proration import Line, lines
from simulator.billing.subscription import Cart, Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote. `before` and `after` are the subscription before and after the change at `effective_at`."""

    before: Subscription
    after: Subscription
    effective_at: datetime
    lines: tuple[Line, ...]
    due: Due


def quote(
    subscription: Subscription, now: datetime, request: PlanRequest, catalog: Catalog, balance: int
) -> Quote:
    """The quote of a valid change. A scheduled change costs nothing now.

    `balance` is the customer's credit in the subscription's currency.
    """
    if request.is_scheduled:
        return Quote(
            before=subscription,
            after=moved(subscription, now, request.cart, catalog, keeps_cycle=True),
            effective_at=subscription.next_billing_date,
            lines=(),
            due=due([], subscription, balance),
        )
    priced = lines(subscription, now, request.cart, request.proration_billing_mode, catalog)
    return Quote(
        before=subscription,
        after=moved(subscription, now, request.cart, catalog, keeps_cycle=request.keeps_cycle),
        effective_at=now,
        lines=priced,
        due=due([line.amount for line in priced], subscription, balance),
    )


def moved(
    subscription: Subscription, now: datetime, cart: Cart, catalog: Catalog, *, keeps_cycle: bool
) -> Subscription:
    """The subscription after the change: without a scheduled change, and in a new period unless
    `keeps_cycle`.
    """
    onto = with_cart(replace(subscription, scheduled_change=None), cart, catalog)
    if keeps_cycle:
        return onto
    end = later(now, onto.payment_frequency_count, onto.payment_frequency_interval)
    return replace(onto, previous_billing_date=now, next_billing_date=end)


def with_cart(subscription: Subscription, cart: Cart, catalog: Catalog) -> Subscription:
    """The subscription with another cart, at current prices. Another product brings its own billing period,
    which decides when the period after the present one ends.
    """
    onto = replace(
        subscription,
        product_id=cart.product_id,
        quantity=cart.quantity,
        addons=cart.addons,
        recurring_pre_tax_amount=catalog.price(cart),
    )
    product = catalog.products.get(cart.product_id)
    if product is None or cart.product_id == subscription.product_id:
        return onto
    return replace(
        onto,
        payment_frequency_count=product.payment_frequency_count,
        payment_frequency_interval=product.payment_frequency_interval,
    )
