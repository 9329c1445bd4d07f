"""Reads products and add-ons from Dodo Payments' responses. One without an id gives None."""

from __future__ import annotations

from dataclasses import replace

from domain.catalog_comparison import AddonOnSale, ProductOnSale
from providers import fields
from providers.http import JsonObject


def listed_product(item: JsonObject) -> ProductOnSale | None:
    """A product from the list, which does not contain add-ons (Dodo documentation, list products)."""
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
    """A retrieved product. If it has no add-ons, the field may be absent (SDK, Product)."""
    listed, price = listed_product(data), data.get("price")
    if listed is None:
        return None
    terms: JsonObject = price if isinstance(price, dict) else {}
    inclusive = terms.get("tax_inclusive")
    return replace(
        listed,
        addons=_ids(data.get("addons")),
        price=fields.integer(terms.get("price")),
        tax_inclusive=inclusive if isinstance(inclusive, bool) else None,
        billing_interval=fields.text(terms.get("payment_frequency_interval")),
        billing_count=fields.integer(terms.get("payment_frequency_count")),
    )


def addon(data: JsonObject) -> AddonOnSale | None:
    """An add-on; listed and retrieved ones have the same fields."""
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
    """The currency, which lists have in the product or its `price_detail`, retrieved products in `price`."""
    for place in (product, product.get("price_detail"), product.get("price")):
        if isinstance(place, dict) and (currency := fields.text(place.get("currency"))) is not None:
            return currency
    return None


def _ids(value: object) -> tuple[str, ...]:
    ids = [fields.text(item) for item in value] if isinstance(value, list) else []
    return tuple(addon_id for addon_id in ids if addon_id is not None)
