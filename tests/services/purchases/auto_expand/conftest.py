"""A service that buys seats on a claim, over the simulated provider."""

from __future__ import annotations

import pytest

from runtime.wiring import Runtime
from simulator.server import Simulator
from simulator.world import World
from tests.services.purchases.auto_expand.setup_helpers import CART, OF_FIVE, claim, with_catalog
from tests.simulated import sell, with_simulator


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator) -> Runtime:
    return with_catalog(with_simulator(runtime, simulator.url), {})


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Five full seats, all of them taken, two viewers and a support contract."""
    subscription_id = sell(world, service, CART)
    for member_id in OF_FIVE:
        claim(service, member_id)
    return subscription_id
