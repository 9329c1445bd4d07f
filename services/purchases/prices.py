"""What the provider sells a product for: it decides between add-ons that give the same seats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from domain.catalog.model import Product
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from domain.errors import CurrencyDiffers, ProductNotSold
from domain.purchase.carts import is_a_choice
from providers.base import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A product as the provider sells it, and the add-ons now sold with it, by id. Add-ons in another
    currency than the product's are left out.
    """

    product: ProductOnSale
    addons: Mapping[str, AddonOnSale]
    is_archived: bool = False

    @property
    def prices(self) -> Mapping[str, int]:
        """The prices of one unit per billing period, as far as they are known."""
        prices = {self.product.product_id: self.product.price}
        prices |= {addon_id: addon.price for addon_id, addon in self.addons.items()}
        return {item_id: price for item_id, price in prices.items() if price is not None}


def prices_of(provider: Provider, product: Product) -> Mapping[str, int] | None:
    """Unit prices per billing period of the product and of the add-ons now sold with it, by id, in the
    smallest unit of the currency (cents). Add-ons in another currency than the product's are left out.

    None, without a request to the provider, if the catalogue leaves no choice between add-ons. Raises
    `PermanentError`, `TransientError`.
    """
    if not is_a_choice(product):
        return None
    sold = provider.product(product.product_id)
    return {} if sold is None else _offer(provider, sold).prices


def offer_of(provider: Provider, product: Product) -> Offer:
    """The offer of the product, which may be archived. Raises `ProductNotSold` if the provider does not sell
    it by subscription; `PermanentError`, `TransientError`.
    """
    sold = provider.product(product.product_id)
    if sold is None or not sold.is_recurring:
        what = "does not know it" if sold is None else "sells it for a single payment and not by subscription"
        raise ProductNotSold(
            f"{product.name} ({product.product_id}) is in the catalogue, but the provider {what}. Run "
            "`seatsync doctor`, which compares the catalogue with what the provider sells.",
            details={"product_id": product.product_id},
        )
    archived = any(one.product_id == sold.product_id for one in provider.products(archived=True))
    return _offer(provider, sold, is_archived=archived)


def refuse_if_not_for_sale(product: Product, offer: Offer, present: ProductOnSale | None) -> None:
    """Raise `ProductNotSold` if the product is archived, `CurrencyDiffers` if it is sold in another currency
    than the `present` product of the subscription, which may be unknown at the provider.
    """
    if offer.is_archived:
        raise ProductNotSold(
            f"{product.name} ({product.product_id}) is archived at the provider: existing customers keep it, "
            "but nobody can change to it. Unarchive it at the provider to sell it again.",
            details={"product_id": product.product_id},
        )
    ours, its = None if present is None else present.currency, offer.product.currency
    if not _is_same_currency(ours, its):
        raise CurrencyDiffers(
            f"{product.name} ({product.product_id}) is sold in {its}, and the present product in {ours}. A "
            f"subscription keeps its currency: name a product that is sold in {ours}, or buy this one "
            "by checkout.",
            details={"product_id": product.product_id, "currency": its, "present_currency": ours},
        )


def _offer(provider: Provider, sold: ProductOnSale, *, is_archived: bool = False) -> Offer:
    attached = sold.addons or ()
    addons = {
        addon.addon_id: addon
        for addon in provider.addons()
        if addon.addon_id in attached and _is_same_currency(addon.currency, sold.currency)
    }
    return Offer(product=sold, addons=addons, is_archived=is_archived)


def _is_same_currency(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other
