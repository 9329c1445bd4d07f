"""The catalogue beside what the provider sells: what does not fit together, and what to do about it."""

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

    `addons` are the ids of the add-ons offered with it; None where the provider did not say, which is not
    the same as none. `currency` is an ISO 4217 code, `price` what one unit costs each period, in its
    smallest unit, where the provider said. One that is not recurring is paid once: nobody can subscribe
    to it.
    """

    product_id: str
    name: str | None = None
    currency: str | None = None
    price: int | None = None
    is_recurring: bool = True
    addons: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddonOnSale:
    """An add-on as the provider sells it; `currency` is an ISO 4217 code, `price` what one unit costs each
    period, in its smallest unit.
    """

    addon_id: str
    name: str | None = None
    currency: str | None = None
    price: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSale:
    """All that the provider has, by id. What is `archived` is still had by some, and sold no more."""

    products: Mapping[str, ProductOnSale]
    addons: Mapping[str, AddonOnSale]
    archived: Collection[str] = frozenset()


class MismatchKind(StrEnum):
    """How the catalogue and the provider can differ."""

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
    """One difference: `place` is where it stands in the catalogue, or should stand."""

    kind: MismatchKind
    place: str
    found: str
    advice: str


def compare(catalog: Catalog, on_sale: OnSale) -> Iterator[Mismatch]:
    """What the catalogue says of products and add-ons beside what the provider says of them."""
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
    """Products of the catalogue that are none of those `used` by subscriptions."""
    for product_id in catalog.products:
        if product_id not in used:
            yield Mismatch(
                MismatchKind.PRODUCT_UNUSED,
                _section(product_id),
                "No subscription known here is of this product.",
                "Nothing, if it is new or kept for later; else take the section out.",
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
        "The provider knows no such product.",
        "Correct the id (those of test mode and live mode differ), or take the section out.",
    )


def _product_not_in_catalog(sold: ProductOnSale) -> Mismatch:
    name = f" ({sold.name})" if sold.name else ""
    return Mismatch(
        MismatchKind.PRODUCT_NOT_IN_CATALOG,
        _section(sold.product_id),
        f"The provider sells this product{name} and the catalogue does not know it: "
        "whoever buys it gets no seats.",
        "Add the section and say what the product is worth in seats.",
    )


def _product_sold_once(product: Product) -> Mismatch:
    return Mismatch(
        MismatchKind.PRODUCT_SOLD_ONCE,
        _section(product.product_id),
        "The provider sells this product once and not by subscription, so it never gives seats.",
        "Correct the id, or take the section out.",
    )


def _archived(kind: MismatchKind, place: str) -> Mismatch:
    return Mismatch(
        kind,
        place,
        "It is archived at the provider: who has it keeps it, nobody else can buy it.",
        "Nothing while somebody has it; unarchive it at the provider to sell it again.",
    )


def _addon_not_at_provider(place: str) -> Mismatch:
    return Mismatch(
        MismatchKind.ADDON_NOT_AT_PROVIDER,
        place,
        "The provider knows no such add-on.",
        "Correct the id (those of test mode and live mode differ), or take the line out.",
    )


def _addon_not_in_catalog(product: Product, addon_id: str) -> Mismatch:
    return Mismatch(
        MismatchKind.ADDON_NOT_IN_CATALOG,
        _addon_line(product.product_id, addon_id),
        "The provider offers this add-on with the product and the catalogue does not know it: "
        "the count of whoever buys it stays what it was.",
        "Add the line with the size of one unit, {} if it is not a seat.",
    )


def _addon_not_attached(place: str) -> Mismatch:
    return Mismatch(
        MismatchKind.ADDON_NOT_ATTACHED,
        place,
        "The provider does not offer this add-on with the product, so nobody can buy it there.",
        "Attach it to the product at the provider, or take the line out once no subscription has it.",
    )


def _other_currency(place: str, ours: str, products: str) -> Mismatch:
    return Mismatch(
        MismatchKind.OTHER_CURRENCY,
        place,
        f"The provider sells the add-on in {ours} and the product in {products}.",
        "Make an add-on in the product's currency at the provider and attach that one.",
    )


def _section(product_id: str) -> str:
    return f"[{dotted(('products', product_id))}]"


def _addon_line(product_id: str, addon_id: str) -> str:
    return f"{_section(product_id)} {addon_field(addon_id)}"
