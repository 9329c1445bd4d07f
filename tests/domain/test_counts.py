from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.catalog.model import Catalog, Product
from domain.counts import (
    NO_SEATS,
    Seats,
    range_findings,
    subscription_seats,
)
from domain.findings import Finding, FindingKind, Uncountable
from domain.seat_limit import UNLIMITED, add, at_least
from domain.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot
from domain.statuses import DEFAULT_EFFECTS, StatusEffect
from tests.domain.catalogs import CATALOGS, IDS
from tests.domain.few_examples import few_examples

INT32 = 2**31 - 1


def product(product_id="pdt", **worth):
    return Product(product_id=product_id, name=product_id, **worth)


def snapshot(*addons, product_id="pdt", quantity=1, status="active"):
    cart = tuple(AddonQuantity(addon_id, units) for addon_id, units in addons)
    return SubscriptionSnapshot(
        subscription_id="sub_1", status=status, product_id=product_id, quantity=quantity, addons=cart
    )


def count(sold, bought):
    return subscription_seats(Catalog(products={sold.product_id: sold}), bought)


def findings_about(sold, bought):
    with pytest.raises(Uncountable) as caught:
        count(sold, bought)
    return [(finding.kind.value, finding.field, finding.value) for finding in caught.value.findings]


# How seats are sold.

BASE = product(included={"full": 5}, addons={"seat": {"full": 1}})
PURE = product(addons={"seat": {"full": 1}})
PER_UNIT = product(per_unit={"full": 1})
PACKS = product(included={"full": 5}, addons={"five": {"full": 5}, "ten": {"full": 10}})
TYPES = product(
    included={"full": 5},
    addons={"seat": {"full": 1}, "viewer": {"viewer": 1}, "duo": {"full": 1, "viewer": 2}},
)
SUPPORT = product(included={"full": 5}, addons={"seat": {"full": 1}, "support": {}, "storage": {"full": 0}})
SITE = product(included={"full": UNLIMITED}, per_unit={"full": 3}, addons={"seat": {"full": 1}})


@pytest.mark.parametrize(
    ("sold", "bought", "expected"),
    [
        pytest.param(BASE, snapshot(("seat", 10)), {"full": Seats(5, 10)}, id="base and seats"),
        pytest.param(BASE, snapshot(), {"full": Seats(5)}, id="base alone"),
        pytest.param(BASE, snapshot(("seat", 0)), {"full": Seats(5)}, id="no units of a seat"),
        pytest.param(BASE, snapshot(("seat", 2), ("seat", 3)), {"full": Seats(5, 5)}, id="an add-on twice"),
        pytest.param(
            BASE, snapshot(("seat", 1), quantity=9), {"full": Seats(5, 1)}, id="quantity is not seats"
        ),
        pytest.param(PURE, snapshot(("seat", 7)), {"full": Seats(0, 7)}, id="seats only"),
        pytest.param(PURE, snapshot(), {"full": Seats(0, 0)}, id="an empty cart is no seats"),
        pytest.param(PER_UNIT, snapshot(quantity=12), {"full": Seats(12)}, id="per unit"),
        pytest.param(PER_UNIT, snapshot(quantity=0), {"full": Seats(0)}, id="no units"),
        pytest.param(PACKS, snapshot(("five", 2), ("ten", 3)), {"full": Seats(5, 40)}, id="packs"),
        pytest.param(
            TYPES,
            snapshot(("viewer", 20), ("seat", 2), ("duo", 3)),
            {"full": Seats(5, 5), "viewer": Seats(0, 26)},
            id="types are never pooled",
        ),
        pytest.param(TYPES, snapshot(), {"full": Seats(5), "viewer": Seats()}, id="a type not bought"),
        pytest.param(SUPPORT, snapshot(("support", 9), ("storage", 9)), {"full": Seats(5)}, id="no seats"),
        pytest.param(SITE, snapshot(("seat", 2), quantity=4), {"full": Seats(UNLIMITED, 2)}, id="unlimited"),
        pytest.param(product(), snapshot(), {}, id="a product without seats"),
        pytest.param(BASE, snapshot(("seat", INT32)), {"full": Seats(5, INT32)}, id="int32"),
        pytest.param(
            BASE, snapshot(("seat", INT32), ("seat", INT32)), {"full": Seats(5, 2 * INT32)}, id="beyond int32"
        ),
    ],
)
def test_seats_are_included_and_per_unit_and_addons(sold, bought, expected):
    assert count(sold, bought) == expected


@pytest.mark.parametrize(("product_id", "seats"), [("small", Seats(5, 20)), ("large", Seats(50, 2))])
def test_each_tier_counts_by_its_own_sizes(product_id, seats):
    tiers = [
        product("small", included={"full": 5}, addons={"seat": {"full": 10}}),
        product("large", included={"full": 50}, addons={"seat": {"full": 1}}),
    ]
    catalog = Catalog(products={tier.product_id: tier for tier in tiers})
    assert subscription_seats(catalog, snapshot(("seat", 2), product_id=product_id)) == {"full": seats}


@pytest.mark.parametrize("status", DEFAULT_EFFECTS)
def test_the_figures_are_the_same_in_every_known_status(status):
    assert count(BASE, snapshot(("seat", 1), status=status)) == {"full": Seats(5, 1)}


def test_a_scheduled_change_is_not_counted():
    change = ScheduledChange("spc_1", "other", 9, (AddonQuantity("seat", 99),), None)
    assert count(BASE, replace(snapshot(("seat", 1)), scheduled_change=change)) == {"full": Seats(5, 1)}


# What cannot be counted.

ABSURD = "absurd_quantity"


@pytest.mark.parametrize(
    ("bought", "expected"),
    [
        (snapshot(product_id="other"), [("unknown_product", "product_id", "other")]),
        (snapshot(("pack", 0)), [("unknown_addon", "addons.pack", 0)]),
        (snapshot(("a.b", 1), ("seat", 1), ("a.b", 2)), [("unknown_addon", 'addons."a.b"', 3)]),
        (replace(snapshot(), addons=None), [("addons_missing", "addons", None)]),
        (snapshot(quantity=-1), [(ABSURD, "quantity", -1)]),
        (snapshot(quantity=INT32 + 1), [(ABSURD, "quantity", INT32 + 1)]),
        (snapshot(("seat", -1), ("seat", 1)), [(ABSURD, "addons.seat", -1)]),
        (snapshot(("seat", INT32 + 1)), [(ABSURD, "addons.seat", INT32 + 1)]),
        (snapshot(status="frozen"), [("unknown_status", "status", "frozen")]),
        (
            snapshot(("seat", -2), ("pack", 1), status="", quantity=-3),
            [
                ("unknown_status", "status", ""),
                (ABSURD, "quantity", -3),
                (ABSURD, "addons.seat", -2),
                ("unknown_addon", "addons.pack", 1),
            ],
        ),
        (
            replace(snapshot(product_id="other"), addons=None),
            [("unknown_product", "product_id", "other"), ("addons_missing", "addons", None)],
        ),
    ],
)
def test_what_is_unknown_or_impossible_gives_no_count_and_all_findings(bought, expected):
    assert findings_about(BASE, bought) == expected


def test_an_addon_of_another_product_is_unknown():
    catalog = Catalog(products={"pdt": BASE, "other": product("other", addons={"pack": {"full": 5}})})
    with pytest.raises(Uncountable, match="add-on 'pack' of product 'pdt'"):
        subscription_seats(catalog, snapshot(("pack", 1)))


@pytest.mark.parametrize("included", [0, UNLIMITED])
def test_an_absurdly_large_total_gives_no_count(included):
    sold = product(included={"full": included}, addons={"pack": {"full": 1000}})
    units = 10**9
    assert count(sold, snapshot(("pack", units)))["full"].addon == 10**12
    expected = [("absurd_total", "seats.full", 10**12 + 1000)]
    assert findings_about(sold, snapshot(("pack", units + 1))) == expected


STAYS = "so the last good count stays:"
NOT_NONE = "which does not mean that it has none"
DOES_NOT_KNOW = "The catalogue does not know"


@pytest.mark.parametrize(
    ("bought", "trouble", "advice"),
    [
        (
            snapshot(product_id="p 1"),
            f"{DOES_NOT_KNOW} product 'p 1', {STAYS}",
            'describe its seats under [products."p 1"].',
        ),
        (
            snapshot(("pack", 1)),
            f"{DOES_NOT_KNOW} add-on 'pack' of product 'pdt', {STAYS}",
            "give addons.pack a size under [products.pdt], or {} if it is not a seat.",
        ),
        (
            replace(snapshot(), addons=None),
            f"The snapshot does not list the subscription's add-ons, {NOT_NONE}, {STAYS}",
            "sync the subscription.",
        ),
        (
            snapshot(("seat", -1)),
            f"addons.seat is -1, but only 0 to 2147483647 is possible, {STAYS}",
            "compare with the provider's dashboard, then sync the subscription.",
        ),
        (
            snapshot(status="frozen"),
            f"{DOES_NOT_KNOW} status 'frozen', so the last good state stays:",
            f"add it under [status] as one of {', '.join(StatusEffect)}.",
        ),
        (
            snapshot(*[("seat", INT32)] * 500),
            f"1073741823505 full seats are more than the plausible 1000000000000, {STAYS}",
            "check the sizes in the catalogue and the quantities at the provider.",
        ),
    ],
)
def test_a_finding_says_what_to_do(bought, trouble, advice):
    with pytest.raises(Uncountable) as caught:
        count(BASE, bought)
    assert str(caught.value) == caught.value.findings[0].message == f"{trouble} {advice}"


# Outside minimum and maximum.

BOUNDED = product(
    included={"full": 5}, addons={"seat": {"full": 1}}, minimum={"full": 7}, maximum={"full": 9}
)


@pytest.mark.parametrize(
    ("units", "kinds"), [(1, ["below_minimum"]), (2, []), (4, []), (5, ["above_maximum"])]
)
def test_a_purchase_outside_the_bounds_counts_and_is_reported(units, kinds):
    seats = count(BOUNDED, snapshot(("seat", units)))
    assert seats == {"full": Seats(5, units)}
    assert [finding.kind.value for finding in range_findings(BOUNDED, seats)] == kinds


def test_a_type_without_any_seats_is_below_its_minimum():
    message = (
        "0 full seats were bought, below the minimum of 7 for product 'pdt'. "
        "All of them count: correct the catalogue, or contact the customer."
    )
    assert range_findings(BOUNDED, {}) == (Finding(FindingKind.BELOW_MINIMUM, "seats.full", 0, message),)


def test_unlimited_is_above_every_maximum():
    [finding] = range_findings(BOUNDED, {"full": Seats(UNLIMITED)})
    assert (finding.kind, finding.value) == (FindingKind.ABOVE_MAXIMUM, "unlimited")


# Properties.

UNITS = st.integers(0, 1000)


@st.composite
def purchases(draw):
    """A catalogue, and a snapshot that buys something it knows."""
    catalog = draw(CATALOGS)
    sold = draw(st.sampled_from(list(catalog.products.values())))
    known = st.tuples(st.sampled_from([*sold.addons]), UNITS)
    cart = draw(st.lists(known, max_size=5)) if sold.addons else []
    return catalog, snapshot(*cart, product_id=sold.product_id, quantity=draw(UNITS), status="active")


def total(seats, seat_type):
    return seats.get(seat_type, NO_SEATS).purchased


def formula(sold, bought, seat_type):
    seats = add(sold.included.get(seat_type, 0), sold.per_unit.get(seat_type, 0) * bought.quantity)
    for addon in bought.addons:
        seats = add(seats, sold.addons[addon.addon_id].get(seat_type, 0) * addon.quantity)
    return seats


@few_examples
@given(purchases())
def test_the_count_is_the_formula(purchase):
    catalog, bought = purchase
    sold = catalog.products[bought.product_id]
    seats = subscription_seats(catalog, bought)
    assert {seat_type: each.purchased for seat_type, each in seats.items()} == {
        seat_type: formula(sold, bought, seat_type) for seat_type in sold.seat_types
    }


@few_examples
@given(purchases(), st.randoms(use_true_random=False))
def test_the_order_of_addons_is_irrelevant(purchase, random):
    catalog, bought = purchase
    shuffled = random.sample(bought.addons, len(bought.addons))
    assert subscription_seats(catalog, replace(bought, addons=tuple(shuffled))) == subscription_seats(
        catalog, bought
    )


@few_examples
@given(purchases(), st.data())
def test_splitting_a_line_changes_nothing(purchase, data):
    catalog, bought = purchase
    parts = []
    for addon in bought.addons:
        part = data.draw(st.integers(0, addon.quantity))
        parts += [replace(addon, quantity=part), replace(addon, quantity=addon.quantity - part)]
    assert subscription_seats(catalog, replace(bought, addons=tuple(parts))) == subscription_seats(
        catalog, bought
    )


@few_examples
@given(purchases(), UNITS, st.data())
def test_more_of_anything_is_never_fewer_seats(purchase, more, data):
    catalog, bought = purchase
    before = subscription_seats(catalog, bought)
    larger = replace(bought, quantity=bought.quantity + more)
    if bought.addons:
        grown = data.draw(st.sampled_from(bought.addons))
        larger = replace(larger, addons=(*larger.addons, replace(grown, quantity=more)))
    after = subscription_seats(catalog, larger)
    assert all(at_least(total(after, seat_type), total(before, seat_type)) for seat_type in before)


@few_examples
@given(purchases(), IDS, UNITS)
def test_an_unknown_addon_never_becomes_a_number(purchase, addon_id, units):
    catalog, bought = purchase
    assume(addon_id not in catalog.products[bought.product_id].addons)
    with pytest.raises(Uncountable):
        subscription_seats(catalog, replace(bought, addons=(*bought.addons, AddonQuantity(addon_id, units))))


@few_examples
@given(purchases(), IDS)
def test_an_unknown_product_never_becomes_a_number(purchase, product_id):
    catalog, bought = purchase
    assume(product_id not in catalog.products)
    with pytest.raises(Uncountable):
        subscription_seats(catalog, replace(bought, product_id=product_id))


LIMITS = st.integers(0, 10**6) | st.just(UNLIMITED)
SEATS = st.builds(Seats, LIMITS, st.integers(0, 10**6), LIMITS)


@few_examples
@given(SEATS)
def test_unlimited_plus_anything_is_unlimited(seats):
    assert (seats + Seats(included=UNLIMITED)).purchased is UNLIMITED
    assert (Seats(contract=UNLIMITED) + seats).purchased is UNLIMITED


@few_examples
@given(SEATS, SEATS, SEATS)
def test_seats_add_up_in_any_order(one, two, three):
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + NO_SEATS == one
    assert (one + two).purchased == add(one.purchased, two.purchased)
