"""Proration: the parts of the new plan to charge and of the old plan to credit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from simulator.billing.catalog import Addon, Catalog, Product
from simulator.billing.periods import later
from simulator.billing.subscription import Cart, Subscription
from simulator.billing.tax import rounded

WHOLE, NOTHING = Fraction(1), Fraction(0)
NO_TIME = timedelta(0)

Shares = Callable[[Fraction], tuple[Fraction, Fraction]]

SHARES: Mapping[str, Shares] = {
    "prorated_immediately": lambda unused: (WHOLE, unused),
    "prorated_immediately_keep_cycle": lambda unused: (unused, unused),
    "difference_immediately": lambda _unused: (WHOLE, WHOLE),
    "full_immediately": lambda _unused: (WHOLE, NOTHING),
    "do_not_bill": lambda _unused: (NOTHING, NOTHING),
}
"""By mode, from the unused part of the period: the parts of the new plan to charge and of the old plan to
credit.
"""


@dataclass(frozen=True, slots=True)
class Line:
    """Units of a product or an add-on for a part of a period, `factor`. A negative part is credited."""

    item: Product | Addon
    quantity: int
    factor: Fraction

    @property
    def amount(self) -> int:
        """The amount before tax, in the smallest unit of the currency."""
        return rounded(self.item.price * self.quantity * self.factor)


def lines(
    subscription: Subscription, now: datetime, cart: Cart, mode: str, catalog: Catalog
) -> tuple[Line, ...]:
    """The line items of a change from the subscription's cart to another one now."""
    charged, credited = SHARES[mode](unused_part(subscription, now))
    if mode == "prorated_immediately_keep_cycle":
        charged *= _periods_in(subscription, catalog.products.get(cart.product_id))
    return (*_lines(cart, charged, catalog), *_lines(subscription.cart, -credited, catalog))


def unused_part(subscription: Subscription, now: datetime) -> Fraction:
    """The unused part of the current period, by whole days. So a preview stays valid until the next day."""
    start, end = subscription.previous_billing_date, subscription.next_billing_date
    used = timedelta(days=max(now - start, NO_TIME).days)
    if end - start <= used:
        return NOTHING
    return Fraction((end - start - used) // timedelta.resolution, (end - start) // timedelta.resolution)


def _periods_in(subscription: Subscription, product: Product | None) -> Fraction:
    """How many of the product's billing periods the subscription's current period is long: 1 if both are
    billed alike, about a twelfth if a month is left of the old plan and the product is paid by the year.
    """
    if product is None or _is_billed_alike(subscription, product):
        return WHOLE
    start = subscription.previous_billing_date
    whole = later(start, product.payment_frequency_count, product.payment_frequency_interval) - start
    period = max(subscription.next_billing_date - start, NO_TIME)
    return Fraction(period // timedelta.resolution, whole // timedelta.resolution)


def _is_billed_alike(subscription: Subscription, product: Product) -> bool:
    """Whether the product's billing period is the subscription's."""
    return (subscription.payment_frequency_count, subscription.payment_frequency_interval) == (
        product.payment_frequency_count,
        product.payment_frequency_interval,
    )


def _lines(cart: Cart, factor: Fraction, catalog: Catalog) -> Iterator[Line]:
    """The line items of a cart. Products and add-ons that are not on sale have none."""
    if factor == NOTHING:
        return
    if product := catalog.products.get(cart.product_id):
        yield Line(product, cart.quantity, factor)
    for units in cart.addons:
        if addon := catalog.addons.get(units.addon_id):
            yield Line(addon, units.quantity, factor)
