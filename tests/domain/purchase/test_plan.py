import pytest

from domain.cart import Cart
from domain.errors import AddonsUnknown
from domain.purchase.money import Money
from domain.snapshot import AddonQuantity, SubscriptionSnapshot

SEAT = AddonQuantity("adn_seat", 3)
SUPPORT = AddonQuantity("adn_support", 1)


def a_snapshot(addons):
    return SubscriptionSnapshot(
        subscription_id="sub_1", status="active", product_id="pdt_team", quantity=2, addons=addons
    )


def test_a_cart_lists_an_addon_once_in_one_order_and_none_without_units():
    twice = (SUPPORT, AddonQuantity("adn_seat", 1), AddonQuantity("adn_old", 0), AddonQuantity("adn_seat", 2))
    assert Cart.of(a_snapshot(twice)) == Cart("pdt_team", 2, (SEAT, SUPPORT))
    assert Cart.of(a_snapshot(twice)).addons == (SEAT, SUPPORT)


def test_a_cart_that_is_not_known_whole_is_no_cart():
    with pytest.raises(AddonsUnknown):
        Cart.of(a_snapshot(None))


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (2500, "USD", "25.00 USD"),
        (5, "EUR", "0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (-1234, "EUR", "-12.34 EUR"),
        (2500, "JPY", "2500 JPY"),
        (-3, "KRW", "-3 KRW"),
        (2500, "KWD", "2.500 KWD"),
        (2500, "HUF", "25.00 HUF"),
    ],
)
def test_money_is_shown_with_the_decimals_of_its_currency(amount, currency, text):
    assert str(Money(amount, currency)) == text
