"""What seats cost at the provider, where that decides which add-ons are bought."""

from __future__ import annotations

from collections.abc import Mapping

from domain.catalog.model import Product
from domain.purchase.carts import is_a_choice
from providers.base import Provider


def prices_of(provider: Provider, product: Product) -> Mapping[str, int] | None:
    """The price of a unit of the product and of each add-on that is sold with it now, by id, each period in
    the smallest unit of the product's currency; an add-on in another one has none. None, and nobody is asked,
    where there is but one way to buy.

    Raises `PermanentError`, `TransientError`.
    """
    if not is_a_choice(product):
        return None
    if (sold := provider.product(product.product_id)) is None:
        return {}
    prices = {product.product_id: sold.price}
    prices |= {
        addon.addon_id: addon.price
        for addon in provider.addons()
        if addon.addon_id in (sold.addons or ()) and _can_be_compared(addon.currency, sold.currency)
    }
    return {item_id: price for item_id, price in prices.items() if price is not None}


def _can_be_compared(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other
