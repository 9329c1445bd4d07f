"""Prices that decide which add-ons are bought: only what can be compared is."""

from __future__ import annotations

import pytest

from domain.catalog.model import Product
from domain.catalog_comparison import AddonOnSale, ProductOnSale
from services.purchases.prices import prices_of

TEAM = Product(product_id="pdt_team", name="Team", addons={"adn_seat": {"full": 1}, "adn_pack": {"full": 10}})


class Shop:
    """A provider that sells a product, an extra seat and a pack of ten."""

    def __init__(self, currency: str | None, of_pack: str | None) -> None:
        self.currency, self.of_pack = currency, of_pack

    def product(self, product_id: str) -> ProductOnSale:
        return ProductOnSale(
            product_id=product_id,
            currency=self.currency,
            price=9900,
            addons=("adn_seat", "adn_pack"),
            is_recurring=True,
        )

    def addons(self) -> list[AddonOnSale]:
        return [
            AddonOnSale(addon_id="adn_seat", currency=self.currency, price=1500),
            AddonOnSale(addon_id="adn_pack", currency=self.of_pack, price=12000),
            AddonOnSale(addon_id="adn_unattached", currency=self.currency, price=1),
        ]


@pytest.mark.parametrize(("currency", "of_pack"), [("EUR", "EUR"), ("EUR", None), (None, "EUR")])
def test_what_is_attached_has_its_price(currency: str | None, of_pack: str | None):
    assert prices_of(Shop(currency, of_pack), TEAM) == {"pdt_team": 9900, "adn_seat": 1500, "adn_pack": 12000}


def test_an_addon_in_another_currency_is_not_compared():
    assert prices_of(Shop("EUR", "JPY"), TEAM) == {"pdt_team": 9900, "adn_seat": 1500}
