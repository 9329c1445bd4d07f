"""A service that uses the simulated provider, and what the provider holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from providers.dodo.provider import Dodo
from providers.http import Client
from providers.rate_limit.budget import Budget, parse_rate
from providers.signature import Verifier
from runtime.wiring import Runtime
from services.sync.on_demand import sync_subscription
from simulator.world import World
from tests.conftest import PROVIDER_KEY, SECRET
from tests.factories import parse_once

CHANGES: Final = "POST /subscriptions/<subscription_id>/change-plan"
CATALOG: Final = """
[defaults]
policy = "strict"
decrease_when = "now"

[roles]
member = "full"
guest = "viewer"

[products.pdt_team]
name = "Team Pro"
included = { full = 5 }
addons.adn_seat = { full = 1 }
addons.adn_pack_10 = { full = 10 }
addons.adn_viewer = { viewer = 1 }
addons.adn_support = {}
maximum = { full = 500 }
"""


def with_simulator(runtime: Runtime, url: str) -> Runtime:
    """The runtime with the simulator at this URL as its provider, and a catalogue of its products."""
    client = Client(
        provider="Dodo Payments",
        base_url=url,
        api_key=PROVIDER_KEY,
        budget=Budget(parse_rate("100000/second")),
        answer_seconds=1.0,
    )
    provider = Dodo(Verifier([SECRET]), client)
    return replace(runtime, provider=provider, catalog=parse_once(CATALOG))


def reset_simulator(world: World) -> World:
    """Reset the simulator: nothing sold, no webhooks, no rate limits."""
    world.reset()
    world.board.turn({"rate_limits": [], "drop_probability": 1.0})
    return world


def sell(world: World, service: Runtime, addons: Mapping[str, int], account_id: str = "acme") -> str:
    """Sell a subscription with these add-ons and sync it; returns its id."""
    units = [{"addon_id": name, "quantity": count} for name, count in addons.items() if count]
    cart = {"product_id": "pdt_team", "metadata": {"account_id": account_id}, "addons": units}
    sold = world.open(cart, silently=True).subscription_id
    sync_subscription(service, sold, patience=5)
    return sold


def sell_second_subscription(world: World, service: Runtime, subscription_id: str) -> str:
    """Sell the same customer and account a second subscription, without add-ons, and sync it; its id."""
    first = world.state.get(subscription_id)
    customer = {"customer_id": first.customer.customer_id}
    cart = {"product_id": "pdt_team", "metadata": dict(first.metadata), "customer": customer}
    second = world.open(cart, silently=True).subscription_id
    sync_subscription(service, second, patience=5)
    return second


def units(world: World, subscription_id: str) -> Mapping[str, int]:
    """The add-ons in the subscription's cart at the provider, with their quantities."""
    return {one.addon_id: one.quantity for one in world.state.get(subscription_id).addons}


def applied_writes(world: World, route: str = CHANGES) -> int:
    """How many requests to this route have changed something at the provider."""
    applied = world.requests.report(0)["applied"]
    assert isinstance(applied, dict)
    return int(applied.get(route, 0))
