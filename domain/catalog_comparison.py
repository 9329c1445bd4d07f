"""Compare the catalogue with what the provider sells: list the mismatches, each with advice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.catalog.model import Catalog, Product
from domain.catalog.toml_lines import dotted
from domain.findings import addon_field


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductOnSale:
    """A product as the provider sells it.

    `addons` are the ids of the add-ons offered with it; None if the provider did not list them, which does
    not mean that there are none. `currency` is an ISO 4217 code. `price` is the price of one unit per period,
    in the currency's smallest unit; None if unknown. A product that is not recurring is paid once and cannot
    be subscribed to. A billing period is `billing_count` times `billing_interval`. `tax_inclusive` is whether
    the price contains the tax. These are None if unknown, and in lists.
    """

    product_id: str
    name: str | None = None
    currency: str | None = None
    price: int | None = None
    is_recurring: bool = True
    addons: tuple[str, ...] | None = None
    tax_inclusive: bool | None = None
    billing_interval: str | None = None
    billing_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddonOnSale:
    """An add-on as the provider sells it; `currency` and `price` as in `ProductOnSale`."""

    addon_id: str
    name: str | None = None
    currency: str | None = None
    price: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSale:
    """The provider's products and add-ons by id. `archived` ids are no longer sold; existing customers keep
    them.
    """

    products: Mapping[str, ProductOnSale]
    addons: Mapping[str, AddonOnSale]
    archived: Collection[str] = frozenset()


class MismatchKind(StrEnum):
    """The kinds of mismatches between the catalogue and the provider."""

    PRODUCT_NOT_AT_PROVIDER = "product_not_at_provider"
    PRODUCT_NOT_IN_CATALOG = "product_not_in_catalog"
    PRODUCT_ARCHIVED = "product_archived"
    PRODUCT_SOLD_ONCE = "product_sold_once"
    PRODUCT_UNUSED = "product_unused"
    ADDON_NOT_AT_PROVIDER = "addon_not_at_provider"
    ADDON_NOT_IN_CATALOG = "addon_not_in_catalog"
    ADDON_NOT_ATTACHED = "addon_not_attached"
    ADDON_ARCHIVED = "addon_archived"
    OTHER_CURRENCY = "other_currency"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One mismatch; `place` is the place in the catalogue, or where the missing entry belongs."""

    kind: MismatchKind
    place: str
    found: str
    advice: str


def compare(catalog: Catalog, on_sale: OnSale) -> Iterator[Mismatch]:
    """The mismatches between the catalogue's products and add-ons and the provider's."""
    for product in catalog.products.values():
        sold = on_sale.products.get(product.product_id)
        if sold is None:
            yield _product_not_at_provider(product)
        else:
            yield from _compare_product(product, sold, on_sale)
    for sold in on_sale.products.values():
        is_sold = sold.is_recurring and sold.product_id not in on_sale.archived
        if is_sold and sold.product_id not in catalog.products:
            yield _product_not_in_catalog(sold)


def unused(catalog: Catalog, used: Collection[str]) -> Iterator[Mismatch]:
    """A mismatch for each product of the catalogue that is not among the `used` ones."""
    for product_id in catalog.products:
        if product_id not in used:
            yield Mismatch(
                MismatchKind.PRODUCT_UNUSED,
                _section(product_id),
                "No known subscription has this product.",
                "Nothing, if the product is new or kept for later; otherwise remove the section.",
            )


def _compare_product(product: Product, sold: ProductOnSale, on_sale: OnSale) -> Iterator[Mismatch]:
    if not sold.is_recurring:
        yield _product_sold_once(product)
    if product.product_id in on_sale.archived:
        yield _archived(MismatchKind.PRODUCT_ARCHIVED, _section(product.product_id))
    for addon_id in product.addons:
        yield from _compare_addon(product, sold, addon_id, on_sale)
    for addon_id in sold.addons or ():
        if addon_id not in product.addons:
            yield _addon_not_in_catalog(product, addon_id)


def _compare_addon(
    product: Product, sold: ProductOnSale, addon_id: str, on_sale: OnSale
) -> Iterator[Mismatch]:
    place = _addon_line(product.product_id, addon_id)
    addon = on_sale.addons.get(addon_id)
    if addon is None:
        yield _addon_not_at_provider(place)
        return
    if addon_id in on_sale.archived:
        yield _archived(MismatchKind.ADDON_ARCHIVED, place)
    elif sold.addons is not None and addon_id not in sold.addons:
        yield _addon_not_attached(place)
    if addon.currency and sold.currency and addon.currency != sold.currency:
        yield _other_currency(place, addon.currency, sold.currency)


def _product_not_at_provider(product: Product) -> Mismatch:
    return Mismatch(
        MismatchKind.PRODUCT_NOT_AT_PROVIDER,
        _section(product.product_id),
        "The provider does not know this product.",
        "Correct the id (test mode and live mode have different ids), or remove the section.",
    )


def _product_not_in_catalog(sold: ProductOnSale) -> Mismatch:
    name = f" ({sold.name})" if sold.name else ""
    return Mismatch(
        MismatchKind.PRODUCT_NOT_IN_CATALOG,
        _section(sold.product_id),
        f"The provider sells this product{name}, but the catalogue does not have it: "
        "customers who buy it get no seats.",
        "Add the section, with the seats that the product gives.",
    )


def _product_sold_once(product: Product) -> Mismatch:
    return Mismatch(
        MismatchKind.PRODUCT_SOLD_ONCE,
        _section(product.product_id),
        "The provider sells this product for a single payment and not by subscription, so it gives no seats.",
        "Correct the id, or remove the section.",
    )


def _archived(kind: MismatchKind, place: str) -> Mismatch:
    return Mismatch(
        kind,
        place,
        "It is archived at the provider: existing customers keep it, but nobody can buy it.",
        "Nothing, while customers have it. Unarchive it at the provider to sell it again.",
    )


def _addon_not_at_provider(place: str) -> Mismatch:
    return Mismatch(
        MismatchKind.ADDON_NOT_AT_PROVIDER,
        place,
        "The provider does not know this add-on.",
        "Correct the id (test mode and live mode have different ids), or remove the line.",
    )


def _addon_not_in_catalog(product: Product, addon_id: str) -> Mismatch:
    return Mismatch(
        MismatchKind.ADDON_NOT_IN_CATALOG,
        _addon_line(product.product_id, addon_id),
        "The provider offers this add-on with the product, but the catalogue does not have it: "
        "subscriptions that buy it keep their last good count.",
        "Add the line with the seats of one unit, or {} if it is not a seat.",
    )


def _addon_not_attached(place: str) -> Mismatch:
    return Mismatch(
        MismatchKind.ADDON_NOT_ATTACHED,
        place,
        "The provider does not offer this add-on with the product, so it cannot be bought.",
        "Attach it to the product at the provider, or remove the line once no subscription has it.",
    )


def _other_currency(place: str, ours: str, products: str) -> Mismatch:
    return Mismatch(
        MismatchKind.OTHER_CURRENCY,
        place,
        f"The provider sells the add-on in {ours} and the product in {products}.",
        "Create an add-on in the product's currency at the provider, and attach that one.",
    )


def _section(product_id: str) -> str:
    return f"[{dotted(('products', product_id))}]"


def _addon_line(product_id: str, addon_id: str) -> str:
    return f"{_section(product_id)} {addon_field(addon_id)}"
