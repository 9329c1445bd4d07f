"""Prices at the provider, which decide between add-ons that give the same seats."""

from __future__ import annotations

from collections.abc import Mapping

from domain.catalog.model import Product
from domain.purchase.carts import is_a_choice
from providers.base import Provider


def prices_of(provider: Provider, product: Product) -> Mapping[str, int] | None:
    """Unit prices per billing period of the product and of the add-ons now sold with it, by id, in the
    smallest unit of the currency (cents). Add-ons in another currency than the product's are left out.

    None, without a request to the provider, if the catalogue leaves no choice between add-ons. Raises
    `PermanentError`, `TransientError`.
    """
    if not is_a_choice(product):
        return None
    if (sold := provider.product(product.product_id)) is None:
        return {}
    prices = {product.product_id: sold.price}
    prices |= {
        addon.addon_id: addon.price
        for addon in provider.addons()
        if addon.addon_id in (sold.addons or ()) and _is_same_currency(addon.currency, sold.currency)
    }
    return {item_id: price for item_id, price in prices.items() if price is not None}


def _is_same_currency(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other
