"""The merchant's products and add-ons, and the price of a cart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from simulator.billing.subscription import AddonUnits, Cart, Metadata
from simulator.refusal import Refusal

OPENED = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product. `addons` are the ids of the add-ons sold with it."""

    product_id: str
    name: str
    price: int
    currency: str = "EUR"
    addons: tuple[str, ...] = ()
    description: str | None = None
    is_recurring: bool = True
    metadata: Metadata = field(default_factory=dict)
    payment_frequency_count: int = 1
    payment_frequency_interval: str = "Month"
    subscription_period_count: int = 20
    subscription_period_interval: str = "Year"
    tax_inclusive: bool = False
    archived: bool = False
    created_at: datetime = OPENED


@dataclass(frozen=True, slots=True, kw_only=True)
class Addon:
    """An add-on. The provider does not know how many seats it gives."""

    id: str
    name: str
    price: int
    currency: str = "EUR"
    description: str | None = None
    archived: bool = False
    created_at: datetime = OPENED


PRODUCTS = (
    Product(
        product_id="pdt_team",
        name="Team Pro",
        price=9900,
        addons=("adn_seat", "adn_pack_10", "adn_viewer", "adn_support"),
        metadata={"included_seats": 5},
    ),
    Product(product_id="pdt_per_user", name="Per user", price=1200),
)
ADDONS = (
    Addon(id="adn_seat", name="Extra seat", price=1500),
    Addon(id="adn_pack_10", name="Pack of ten seats", price=12000),
    Addon(id="adn_viewer", name="Viewer seat", price=400),
    Addon(id="adn_support", name="Priority support", price=5000),
)


class Catalog:
    """The products and add-ons on sale. Values are replaced as a whole, so readers need no lock."""

    def __init__(self) -> None:
        self.restore()

    def restore(self) -> None:
        self.products: Mapping[str, Product] = {product.product_id: product for product in PRODUCTS}
        self.addons: Mapping[str, Addon] = {addon.id: addon for addon in ADDONS}

    def put_product(self, product: Product) -> None:
        self.products = {**self.products, product.product_id: product}

    def put_addon(self, addon: Addon) -> None:
        self.addons = {**self.addons, addon.id: addon}

    def product(self, product_id: str) -> Product:
        if product_id not in self.products:
            raise Refusal.not_found(f"Product {product_id} does not exist")
        return self.products[product_id]

    def addon(self, addon_id: str) -> Addon:
        if addon_id not in self.addons:
            raise Refusal.not_found(f"Addon {addon_id} does not exist")
        return self.addons[addon_id]

    def price(self, cart: Cart) -> int:
        """The recurring amount before tax. Products and add-ons that are not on sale cost nothing."""
        product = self.products.get(cart.product_id)
        base = product.price * cart.quantity if product else 0
        return base + sum(self._price_of(units) for units in cart.addons)

    def _price_of(self, units: AddonUnits) -> int:
        addon = self.addons.get(units.addon_id)
        return addon.price * units.quantity if addon else 0
