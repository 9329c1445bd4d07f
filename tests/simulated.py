"""A service over the simulated provider, and what the provider has of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from providers.dodo.provider import Dodo
from providers.http import Client
from providers.rate_limit.budget import Budget, parse_rate
from providers.signature import Verifier
from runtime.wiring import Runtime
from services.sync.on_demand import resync_subscription
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


def served_by(runtime: Runtime, url: str) -> Runtime:
    """The runtime with the provider at this address, and a catalogue of what the simulator sells."""
    client = Client(
        provider="Dodo Payments",
        base_url=url,
        api_key=PROVIDER_KEY,
        budget=Budget(parse_rate("100000/second")),
        answer_seconds=1.0,
    )
    provider = Dodo(Verifier([SECRET]), client)
    return replace(runtime, provider=provider, catalog=parse_once(CATALOG))


def emptied(world: World) -> World:
    """Nothing sold, no webhooks, no allowance to keep to."""
    world.reset()
    world.board.turn({"rate_limits": [], "drop_probability": 1.0})
    return world


def sell(world: World, service: Runtime, addons: Mapping[str, int], account_id: str = "acme") -> str:
    """A subscription that the service has looked at; its id."""
    units = [{"addon_id": name, "quantity": count} for name, count in addons.items() if count]
    cart = {"product_id": "pdt_team", "metadata": {"account_id": account_id}, "addons": units}
    sold = world.open(cart, silently=True).subscription_id
    resync_subscription(service, sold, patience=5)
    return sold


def sell_beside(world: World, service: Runtime, subscription_id: str) -> str:
    """A second subscription of the same customer and account, without add-ons; its id."""
    first = world.state.get(subscription_id)
    customer = {"customer_id": first.customer.customer_id}
    cart = {"product_id": "pdt_team", "metadata": dict(first.metadata), "customer": customer}
    second = world.open(cart, silently=True).subscription_id
    resync_subscription(service, second, patience=5)
    return second


def units(world: World, subscription_id: str) -> Mapping[str, int]:
    """The add-ons that the provider has in the cart."""
    return {one.addon_id: one.quantity for one in world.state.get(subscription_id).addons}


def applied_writes(world: World, route: str = CHANGES) -> int:
    """How many requests of this kind have changed something at the provider."""
    applied = world.requests.report(0)["applied"]
    assert isinstance(applied, dict)
    return int(applied.get(route, 0))
