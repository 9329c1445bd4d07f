"""Proration: which part of the new plan is charged and which part of the old one taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from simulator.billing.catalog import Addon, Catalog, Product
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
"""By mode, from the unused part of the period: how much of the new plan is charged, how much of the old
one taken back."""


@dataclass(frozen=True, slots=True)
class Line:
    """Units of a product or an add-on for a part of a period; a negative part is taken back."""

    item: Product | Addon
    quantity: int
    factor: Fraction

    @property
    def amount(self) -> int:
        """Before tax, in the smallest unit."""
        return rounded(self.item.price * self.quantity * self.factor)


def lines(
    subscription: Subscription, now: datetime, cart: Cart, mode: str, catalog: Catalog
) -> tuple[Line, ...]:
    """What moving from the subscription's cart to another one costs at once."""
    charged, taken_back = SHARES[mode](unused_part(subscription, now))
    return (*_lines(cart, charged, catalog), *_lines(subscription.cart, -taken_back, catalog))


def unused_part(subscription: Subscription, now: datetime) -> Fraction:
    """Of the present period, by whole days used: a preview holds until the next day begins."""
    start, end = subscription.previous_billing_date, subscription.next_billing_date
    used = timedelta(days=max(now - start, NO_TIME).days)
    if end - start <= used:
        return NOTHING
    return Fraction((end - start - used) // timedelta.resolution, (end - start) // timedelta.resolution)


def _lines(cart: Cart, factor: Fraction, catalog: Catalog) -> Iterator[Line]:
    """What is not on sale costs nothing and has no line."""
    if factor == NOTHING:
        return
    if product := catalog.products.get(cart.product_id):
        yield Line(product, cart.quantity, factor)
    for units in cart.addons:
        if addon := catalog.addons.get(units.addon_id):
            yield Line(addon, units.quantity, factor)
