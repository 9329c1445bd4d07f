"""The catalogue beside what the provider sells."""

from __future__ import annotations

import pytest

from domain.catalog.model import Catalog
from domain.catalog.reader import parse
from domain.catalog_comparison import AddonOnSale, MismatchKind, OnSale, ProductOnSale, compare, unused

CATALOG = parse(
    """
[roles]
member = "full"

[products.pdt_team]
name = "Team"
included = { full = 5 }
addons.adn_seat = { full = 1 }
addons."adn.support" = {}
""",
    "test",
)
TEAM = ProductOnSale(product_id="pdt_team", currency="EUR", addons=("adn_seat", "adn.support"))
ADDONS = ("adn_seat", "adn.support")


def on_sale(*products: ProductOnSale, archived=(), currency="EUR", addons=ADDONS) -> OnSale:
    return OnSale(
        products={product.product_id: product for product in products or (TEAM,)},
        addons={one: AddonOnSale(addon_id=one, currency=currency) for one in addons},
        archived=frozenset(archived),
    )


def team(**changes) -> ProductOnSale:
    return ProductOnSale(**{"product_id": "pdt_team", "currency": "EUR", "addons": ADDONS, **changes})


def found(sold: OnSale, catalog: Catalog = CATALOG) -> list[tuple[MismatchKind, str]]:
    return [(mismatch.kind, mismatch.place) for mismatch in compare(catalog, sold)]


SEAT, SUPPORT = "[products.pdt_team] addons.adn_seat", '[products.pdt_team] addons."adn.support"'


def test_what_agrees_gives_no_finding():
    assert found(on_sale()) == []


@pytest.mark.parametrize(
    ("sold", "kind", "place"),
    [
        (on_sale(team(is_recurring=False)), "product_sold_once", "[products.pdt_team]"),
        (on_sale(archived=["pdt_team"]), "product_archived", "[products.pdt_team]"),
        (on_sale(addons=["adn_seat"]), "addon_not_at_provider", SUPPORT),
        (on_sale(archived=["adn_seat"]), "addon_archived", SEAT),
        (on_sale(team(addons=("adn_seat",))), "addon_not_attached", SUPPORT),
        (
            on_sale(team(addons=(*ADDONS, "adn_new"))),
            "addon_not_in_catalog",
            "[products.pdt_team] addons.adn_new",
        ),
        (on_sale(TEAM, ProductOnSale(product_id="pdt_new")), "product_not_in_catalog", "[products.pdt_new]"),
    ],
)
def test_a_difference_is_reported_with_its_place(sold: OnSale, kind: str, place: str):
    assert found(sold) == [(kind, place)]


def test_a_product_the_provider_does_not_know_is_reported_once_and_not_by_its_addons():
    nothing = OnSale(products={}, addons={})
    assert found(nothing) == [("product_not_at_provider", "[products.pdt_team]")]


def test_an_addon_in_another_currency_than_its_product_is_reported_with_both():
    first, second = compare(CATALOG, on_sale(currency="USD"))
    assert (first.kind, first.place, second.place) == ("other_currency", SEAT, SUPPORT)
    assert "USD and the product in EUR" in first.found


@pytest.mark.parametrize("sold", [on_sale(currency=None), on_sale(team(currency=None))])
def test_an_unknown_currency_differs_from_none(sold: OnSale):
    assert found(sold) == []


def test_unknown_addons_of_a_product_are_not_the_same_as_none():
    assert found(on_sale(team(addons=None))) == []
    assert found(on_sale(team(addons=()))) == [("addon_not_attached", SEAT), ("addon_not_attached", SUPPORT)]


def test_an_archived_addon_is_not_said_to_be_missing_from_the_product_too():
    assert found(on_sale(team(addons=("adn.support",)), archived=["adn_seat"])) == [("addon_archived", SEAT)]


@pytest.mark.parametrize(
    ("other", "archived"),
    [
        (ProductOnSale(product_id="pdt_new"), ["pdt_new"]),
        (ProductOnSale(product_id="pdt_new", is_recurring=False), []),
    ],
    ids=["archived", "sold once"],
)
def test_a_product_that_cannot_be_subscribed_to_need_not_be_in_the_catalogue(
    other: ProductOnSale, archived: list[str]
):
    assert found(on_sale(TEAM, other, archived=archived)) == []


def test_a_product_missing_from_the_catalogue_is_reported_by_its_name():
    (mismatch,) = compare(CATALOG, on_sale(TEAM, ProductOnSale(product_id="pdt_new", name="Team XL")))
    assert "(Team XL)" in mismatch.found


def test_a_product_without_subscriptions_is_unused():
    assert [mismatch.place for mismatch in unused(CATALOG, {"pdt_other"})] == ["[products.pdt_team]"]
    assert list(unused(CATALOG, {"pdt_team"})) == []
