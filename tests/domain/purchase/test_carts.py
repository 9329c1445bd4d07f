import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cart import Cart
from domain.catalog.reader import parse
from domain.counts import cart_seats
from domain.errors import AboveMaximum, BelowMinimum, NoWayToBuy, ProductNotFound, UnknownSeatType
from domain.findings import Uncountable
from domain.purchase.carts import is_a_choice, new_cart, with_seats
from domain.snapshot import AddonQuantity
from tests.domain.few_examples import few_examples

CATALOG = parse(
    """
    [products.pdt_team]
    name = "Team"
    included = { full = 5 }
    addons.adn_seat = { full = 1 }
    addons.adn_pack_10 = { full = 10 }
    addons.adn_viewer = { viewer = 1 }
    addons.adn_support = {}
    addons.adn_bundle = { full = 2, viewer = 20 }
    minimum = { full = 7 }
    maximum = { full = 500 }

    [products.pdt_per_user]
    name = "Per user"
    per_unit = { full = 1 }

    [products.pdt_packs]
    name = "Packs"
    addons.adn_ten = { full = 10 }
    maximum = { full = 25 }

    [products.pdt_company]
    name = "Company"
    included = { full = "unlimited" }
    addons.adn_viewer = { viewer = 1 }
    minimum = { full = 1, viewer = 3 }
    """,
    "catalog.toml",
)
PRICES = {"adn_seat": 15, "adn_pack_10": 100, "adn_viewer": 5, "adn_support": 50}
PER_SEAT = {"adn_seat": 10, "adn_pack_10": 100, "adn_viewer": 5}


def team(**units):
    return Cart("pdt_team", 1, tuple(AddonQuantity(f"adn_{name}", count) for name, count in units.items()))


def purchased(cart):
    return {seat_type: seats.purchased for seat_type, seats in cart_seats(CATALOG, cart).items()}


CARTS = st.builds(
    team,
    seat=st.integers(0, 30),
    pack_10=st.integers(0, 4),
    viewer=st.integers(0, 9),
    support=st.integers(0, 2),
    bundle=st.integers(0, 2),
)
WANTED = st.fixed_dictionaries({"full": st.integers(10, 120)}, optional={"viewer": st.integers(40, 60)})


@few_examples
@given(CARTS, WANTED, st.sampled_from([None, PRICES, PER_SEAT]))
def test_the_cart_gives_at_least_the_wanted_seats_and_changes_nothing_else(cart, wanted, prices):
    after = with_seats(CATALOG, cart, wanted, prices)
    before, bought = purchased(cart), purchased(after)
    beyond = {name: bought[name] - number for name, number in wanted.items() if bought[name] != number}
    assert {name: bought[name] for name in bought if name not in wanted} == {
        name: before[name] for name in before if name not in wanted
    }
    assert all(number > 0 for number in beyond.values())
    assert beyond == {} or prices is PRICES
    assert (after.product_id, after.quantity) == (cart.product_id, cart.quantity)
    for addon_id in ("adn_support", "adn_bundle"):
        assert after.units(addon_id) == cart.units(addon_id)


def price(cart, prices):
    return sum(prices[addon.addon_id] * addon.quantity for addon in cart.addons if addon.addon_id in prices)


@few_examples
@given(CARTS, st.integers(10, 120), st.integers(10, 120), st.sampled_from([PRICES, PER_SEAT]))
def test_fewer_seats_never_cost_more(cart, one, other, prices):
    fewer, more = sorted(
        (max(one, 5 + 2 * cart.units("adn_bundle")), max(other, 5 + 2 * cart.units("adn_bundle")))
    )
    had = purchased(cart)["full"]
    carts = [with_seats(CATALOG, cart, {"full": number}, prices) for number in (fewer, more)]
    assert had in (fewer, more) or price(carts[0], prices) <= price(carts[1], prices)
    assert fewer >= had or price(carts[0], prices) <= price(cart, prices)


def test_at_most_limits_the_seats_of_the_cart_if_that_is_possible():
    assert with_seats(CATALOG, team(), {"full": 14}, PRICES) == team(pack_10=1)
    assert with_seats(CATALOG, team(), {"full": 14}, PRICES, at_most={"full": 14}) == team(seat=9)
    packs = with_seats(CATALOG, Cart("pdt_packs", 1), {"full": 11}, None, at_most={"full": 12})
    assert packs.units("adn_ten") == 2


@few_examples
@given(CARTS, WANTED, st.sampled_from([None, PRICES, {"adn_pack_10": 1, "adn_viewer": 1}]))
def test_applying_the_same_wanted_seats_again_changes_nothing(cart, wanted, prices):
    wanted = {name: number for name, number in wanted.items() if number != purchased(cart)[name]}
    after = with_seats(CATALOG, cart, wanted, prices)
    assert with_seats(CATALOG, after, wanted, prices) == after


@pytest.mark.parametrize(
    ("cart", "full", "prices", "after"),
    [
        (team(seat=3), 10, PRICES, team(seat=5)),
        (team(seat=3), 28, PRICES, team(seat=3, pack_10=2)),
        (team(seat=3), 28, PER_SEAT, team(seat=23)),
        (team(seat=9), 15, PRICES, team(pack_10=1)),
        (team(seat=9), 15, PER_SEAT, team(seat=10)),
        (team(seat=9, pack_10=1), 16, PRICES, team(seat=1, pack_10=1)),
        (team(pack_10=2, viewer=4), 12, PRICES, team(pack_10=1, viewer=4)),
        (team(pack_10=2, viewer=4), 11, PRICES, team(seat=6, viewer=4)),
        (team(pack_10=1), 12, PRICES, team(pack_10=1)),
        (team(seat=10), 15, PRICES, team(seat=10)),
        (team(pack_10=1, support=1), 15, {}, team(pack_10=1, support=1)),
    ],
    ids=[
        "single seats are added",
        "packs are added where they are cheaper",
        "single seats where they cost the same",
        "what is there is exchanged for something cheaper",
        "but not for something that costs the same",
        "packs stay where they fit",
        "packs give more seats where fewer would cost more",
        "packs are broken up where that costs less",
        "nothing is given back where that would cost more",
        "what is not asked for is not made cheaper",
        "nothing is done where nothing is wanted",
    ],
)
def test_the_cheapest_cart_is_chosen_and_changed_as_little_as_possible(cart, full, prices, after):
    assert with_seats(CATALOG, cart, {"full": full}, prices) == after


def test_if_only_packs_are_sold_the_cart_has_the_next_possible_number_and_a_surplus():
    after = with_seats(CATALOG, Cart("pdt_packs", 1), {"full": 11}, None)
    assert after == Cart("pdt_packs", 1, (AddonQuantity("adn_ten", 2),))
    assert purchased(after)["full"] == 20


@pytest.mark.parametrize(("quantity", "wanted"), [(4, 9), (9, 4), (4, 1)])
def test_seats_sold_per_unit_set_the_quantity_of_the_product(quantity, wanted):
    cart = with_seats(CATALOG, Cart("pdt_per_user", quantity), {"full": wanted}, {})
    assert cart == Cart("pdt_per_user", wanted)


@pytest.mark.parametrize(
    ("cart", "wanted", "error", "says"),
    [
        (team(seat=9), {"full": 6}, BelowMinimum, "its minimum is 7 full seats"),
        (team(bundle=3), {"full": 10}, BelowMinimum, "11 full seats cannot be removed"),
        (Cart("pdt_per_user", 3), {"full": 0}, BelowMinimum, "1 full seat cannot be removed"),
        (team(), {"full": 501}, AboveMaximum, "its maximum is 500"),
        (team(), {"guest": 1}, UnknownSeatType, "it sells full, viewer"),
        (Cart("pdt_company", 1), {"full": 9}, NoWayToBuy, "has unlimited full seats"),
        (
            Cart("pdt_packs", 1),
            {"full": 21},
            NoWayToBuy,
            "the next possible number, 30, is above its maximum",
        ),
        (Cart("pdt_company", 1), {"viewer": 100_001}, NoWayToBuy, "At most 100000 seats"),
        (Cart("pdt_gone", 1), {"full": 1}, Uncountable, "does not know product"),
        (team(unknown=1), {"full": 20}, Uncountable, "does not know add-on"),
    ],
)
def test_a_cart_that_is_impossible_is_refused_with_the_reason(cart, wanted, error, says):
    with pytest.raises(error) as refused:
        with_seats(CATALOG, cart, wanted, None)
    assert says in refused.value.message


def test_an_addon_without_a_price_is_not_sold():
    with pytest.raises(NoWayToBuy) as refused:
        with_seats(CATALOG, team(), {"viewer": 1}, {"adn_seat": 15})
    assert refused.value.message == "No combination of add-ons sold with Team gives 1 viewer seat."
    assert with_seats(CATALOG, team(viewer=3), {"viewer": 1}, {"adn_seat": 15}) == team(viewer=1)


def test_a_new_cart_has_the_wanted_seats_and_the_minimum_of_the_other_types():
    assert new_cart(CATALOG, "pdt_team", {"full": 27}, PRICES) == team(seat=2, pack_10=2)
    assert new_cart(CATALOG, "pdt_team", {"viewer": 2}, PRICES) == team(seat=2, viewer=2)
    company = new_cart(CATALOG, "pdt_company", {}, None)
    assert company == Cart("pdt_company", 1, (AddonQuantity("adn_viewer", 3),))


def test_a_new_purchase_below_the_minimum_or_of_an_unknown_product_is_refused():
    with pytest.raises(BelowMinimum):
        new_cart(CATALOG, "pdt_team", {"full": 5}, PRICES)
    with pytest.raises(
        ProductNotFound, match="Known products: pdt_company, pdt_packs, pdt_per_user, pdt_team"
    ):
        new_cart(CATALOG, "pdt_gone", {"full": 5}, PRICES)


def test_prices_matter_only_if_seats_of_a_type_are_sold_in_more_than_one_way():
    choices = {name: is_a_choice(product) for name, product in CATALOG.products.items()}
    assert choices == {"pdt_team": True, "pdt_per_user": False, "pdt_packs": False, "pdt_company": False}
