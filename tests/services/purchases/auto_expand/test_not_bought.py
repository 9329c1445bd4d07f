"""Claims for which nothing is bought, and their error messages."""

from __future__ import annotations

import pytest

from domain.errors import NoSeatAvailable, PurchaseNeeded
from runtime.wiring import Runtime
from services.purchases import auto_expand
from services.sync.on_demand import sync_subscription
from simulator.billing.subscription import AddonUnits
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.services.purchases.auto_expand.setup_helpers import (
    claim,
    long_ago,
    people,
    reason,
    status,
    with_catalog,
)
from tests.simulated import applied_writes, sell_second_subscription


def test_a_refusal_of_the_provider_refuses_the_pending_claims(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    world.apply(sold, actions.set_status(world, Options(status="on_hold")), silently=True)
    auto_expand.expand(service, "acme")
    assert people(service) == {"eve": "released"}
    assert reason(service, "eve").startswith("No seat could be bought. ")


def test_no_more_than_the_days_limit_is_bought(service: Runtime, world: World, sold: str):
    claim(service, *(f"new-{number}" for number in range(10)))
    with pytest.raises(NoSeatAvailable, match="auto_expand_limit") as refused:
        claim(service, "eve")
    assert refused.value.details["auto_expand_limit"] == 10
    auto_expand.expand(service, "acme")
    with pytest.raises(NoSeatAvailable, match="10 of 10 seats were bought automatically today"):
        claim(service, "eve")
    long_ago(service, "1 day")
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    assert people(service)["eve"] == "active"


def test_a_pack_beyond_the_days_limit_is_not_bought(service: Runtime, world: World, sold: str):
    packs_only = with_catalog(
        service, {"addons.adn_seat = { full = 1 }\n": "", "\n[roles]": "auto_expand_limit = 5\n[roles]"}
    )
    claim(packs_only, "eve")
    auto_expand.expand(packs_only, "acme")
    assert (people(service), applied_writes(world)) == ({"eve": "released"}, 0)
    assert "10 seats would have to be bought at once" in reason(service, "eve")


def test_no_more_than_the_products_maximum_is_bought(service: Runtime, sold: str):
    bounded = with_catalog(service, {"maximum = { full = 500 }": "maximum = { full = 6 }"})
    claim(bounded, "eve")
    with pytest.raises(NoSeatAvailable, match="No more than 6 full seats can be bought"):
        claim(bounded, "fay")


def test_nothing_is_bought_for_an_existing_overage(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    world.apply(sold, actions.set_cart(world, Options(addons=[AddonUnits("adn_viewer", 2)])), silently=True)
    sync_subscription(service, sold, patience=5)
    with pytest.raises(NoSeatAvailable, match="6 members on 5 full seats"):
        claim(service, "fay")
    assert status(service) == "over_limit"


def test_with_two_subscriptions_nothing_is_bought(service: Runtime, world: World, sold: str):
    sell_second_subscription(world, service, sold)
    claim(service, *(f"new-{number}" for number in range(5)))
    with pytest.raises(
        PurchaseNeeded, match="2 subscriptions that could be changed, and exactly one is needed"
    ):
        claim(service, "eve")
