"""A change of some seats keeps everything else in the cart, at each single step, and names all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest

from domain.billing_terms import When
from domain.catalog.reader import parse
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.purchases.cancel import cancel
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.sync.on_demand import sync_subscription
from simulator.billing.catalog import Product
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.simulated import CATALOG, CHANGES, sell

Units = Mapping[str, int]

# Two seat types, a pack and support: eighteen full seats and four viewers.
CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
STEPS = [
    ({"full": 21}, {**CART, "adn_seat": 6}),
    ({"full": 16}, {**CART, "adn_seat": 1}),
    ({"full": 28}, {**CART, "adn_pack_10": 2}),
    ({"full": 8}, {"adn_seat": 3, "adn_viewer": 4, "adn_support": 1}),
    ({"viewer": 6}, {**CART, "adn_viewer": 6}),
    ({"viewer": 0}, {"adn_seat": 3, "adn_pack_10": 1, "adn_support": 1}),
    ({"full": 20, "viewer": 1}, {**CART, "adn_seat": 5, "adn_viewer": 1}),
    ({"full": 5, "viewer": 0}, {"adn_support": 1}),
]
each_step = pytest.mark.parametrize(("seats", "after"), STEPS)


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, CART)


def cart(world: World, name: str) -> tuple[str, int, Units]:
    """All that the provider has in the cart: the product, how many of it, and each add-on."""
    kept = world.state.get(name)
    return kept.product_id, kept.quantity, {one.addon_id: one.quantity for one in kept.addons}


def sent(world: World) -> list[tuple[str, int, Units]]:
    """The same of each change that was ever written to the provider."""
    writes = world.requests.report(100)["writes"]
    bodies = [orjson.loads(write["body"]) for write in writes if write["route"] == CHANGES]
    return [
        (body["product_id"], body["quantity"], {one["addon_id"]: one["quantity"] for one in body["addons"]})
        for body in bodies
    ]


def changed(service: Runtime, seats: Units, when: When = When.NOW) -> SeatChange:
    return confirm(service, "acme", preview(service, "acme", SeatRequest(seats=seats, when=when)).token)


def renewed(service: Runtime, world: World, name: str) -> None:
    world.apply(name, actions.renew(world, Options()), silently=True)
    sync_subscription(service, name, patience=5)


@each_step
def test_a_change_now_moves_what_was_asked_for_and_keeps_the_rest(
    service: Runtime, world: World, sold: str, seats: Units, after: Units
):
    assert changed(service, seats).state == ChangeState.APPLIED
    assert cart(world, sold) == ("pdt_team", 1, after)
    assert sent(world) == [("pdt_team", 1, after)]


@each_step
def test_a_change_at_the_renewal_leaves_the_whole_cart_until_then(
    service: Runtime, world: World, sold: str, seats: Units, after: Units
):
    assert changed(service, seats, When.AT_RENEWAL).state == ChangeState.SCHEDULED
    assert cart(world, sold) == ("pdt_team", 1, CART)
    assert sent(world) == [("pdt_team", 1, after)]


@each_step
def test_a_change_at_the_renewal_keeps_the_rest_when_it_comes(
    service: Runtime, world: World, sold: str, seats: Units, after: Units
):
    changed(service, seats, When.AT_RENEWAL)
    renewed(service, world, sold)
    assert cart(world, sold) == ("pdt_team", 1, after)
    assert len(sent(world)) == 1


@each_step
def test_a_cancelled_change_leaves_the_whole_cart_at_the_renewal_too(
    service: Runtime, world: World, sold: str, seats: Units, after: Units
):
    change = changed(service, seats, When.AT_RENEWAL)
    assert cancel(service, "acme", change.id).state == ChangeState.CANCELLED
    assert cart(world, sold) == ("pdt_team", 1, CART)
    renewed(service, world, sold)
    assert cart(world, sold) == ("pdt_team", 1, CART)
    assert sent(world) == [("pdt_team", 1, after)]


def test_each_of_many_changes_starts_from_the_cart_of_the_one_before(
    service: Runtime, world: World, sold: str
):
    more, fewer, later = ({**CART, "adn_seat": seats} for seats in (6, 1, 0))
    del later["adn_seat"]
    seen = []
    changed(service, {"full": 21})
    seen.append(cart(world, sold))
    changed(service, {"full": 16})
    seen.append(cart(world, sold))
    changed(service, {"full": 15}, When.AT_RENEWAL)
    seen.append(cart(world, sold))
    renewed(service, world, sold)
    seen.append(cart(world, sold))
    cancel(service, "acme", changed(service, {"full": 5, "viewer": 0}, When.AT_RENEWAL).id)
    renewed(service, world, sold)
    seen.append(cart(world, sold))
    assert seen == [("pdt_team", 1, units) for units in (more, fewer, fewer, later, later)]
    assert sent(world) == [("pdt_team", 1, units) for units in (more, fewer, later, {"adn_support": 1})]


# Sold by the unit.

PER_UNIT = """
[products.pdt_per_user]
per_unit = { full = 1 }
addons.adn_viewer = { viewer = 1 }
addons.adn_support = {}
"""
BESIDE = {"adn_viewer": 4, "adn_support": 1}


@pytest.fixture
def by_the_unit(service: Runtime, world: World) -> Runtime:
    """Three seats that are three units of the product, with viewers and support beside."""
    world.catalog.put_product(
        Product(product_id="pdt_per_user", name="Per user", price=1200, addons=tuple(BESIDE))
    )
    addons = [{"addon_id": name, "quantity": count} for name, count in BESIDE.items()]
    wanted = {"product_id": "pdt_per_user", "quantity": 3, "addons": addons}
    bought = world.open({**wanted, "metadata": {"account_id": "acme"}}, silently=True)
    selling = replace(service, catalog=parse(CATALOG + PER_UNIT, "test catalogue"))
    sync_subscription(selling, bought.subscription_id, patience=5)
    return selling


@pytest.mark.parametrize(
    ("seats", "after"),
    [
        ({"full": 7}, ("pdt_per_user", 7, BESIDE)),
        ({"full": 1}, ("pdt_per_user", 1, BESIDE)),
        ({"viewer": 0}, ("pdt_per_user", 3, {"adn_support": 1})),
        ({"full": 2, "viewer": 5}, ("pdt_per_user", 2, {**BESIDE, "adn_viewer": 5})),
    ],
)
@pytest.mark.parametrize("when", When)
def test_seats_sold_by_the_unit_are_the_quantity_and_the_addons_stay(
    by_the_unit: Runtime, world: World, seats: Units, after: tuple[str, int, Units], when: When
):
    change = changed(by_the_unit, seats, when)
    if when is When.AT_RENEWAL:
        assert cart(world, change.subscription_id) == ("pdt_per_user", 3, BESIDE)
        renewed(by_the_unit, world, change.subscription_id)
    assert cart(world, change.subscription_id) == after
    assert sent(world) == [after]
