"""Products and add-ons as Dodo Payments shows them, in our words; what cannot be named is None."""

from __future__ import annotations

from dataclasses import replace

from domain.catalog_comparison import AddonOnSale, ProductOnSale
from providers import fields
from providers.http import JsonObject


def listed_product(item: JsonObject) -> ProductOnSale | None:
    """An item of the list, which shows no add-ons (Dodo documentation, list products)."""
    product_id = fields.text(item.get("product_id"))
    if product_id is None:
        return None
    return ProductOnSale(
        product_id=product_id,
        name=fields.text(item.get("name")),
        currency=_currency(item),
        is_recurring=item.get("is_recurring") is not False,
    )


def whole_product(data: JsonObject) -> ProductOnSale | None:
    """A product that was retrieved: one without add-ons may leave the field out (SDK, Product)."""
    listed, price = listed_product(data), data.get("price")
    if listed is None:
        return None
    return replace(
        listed,
        addons=_ids(data.get("addons")),
        price=fields.integer(price.get("price")) if isinstance(price, dict) else None,
    )


def addon(data: JsonObject) -> AddonOnSale | None:
    """An add-on, listed or retrieved: both are the same."""
    addon_id = fields.text(data.get("id"))
    if addon_id is None:
        return None
    return AddonOnSale(
        addon_id=addon_id,
        name=fields.text(data.get("name")),
        currency=fields.text(data.get("currency")),
        price=fields.integer(data.get("price")),
    )


def _currency(product: JsonObject) -> str | None:
    """Lists show it beside the price, or within `price_detail`; a retrieved product within `price`."""
    for place in (product, product.get("price_detail"), product.get("price")):
        if isinstance(place, dict) and (currency := fields.text(place.get("currency"))) is not None:
            return currency
    return None


def _ids(value: object) -> tuple[str, ...]:
    ids = [fields.text(item) for item in value] if isinstance(value, list) else []
    return tuple(addon_id for addon_id in ids if addon_id is not None)
