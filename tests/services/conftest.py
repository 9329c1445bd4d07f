"""The service over the simulated provider."""

from __future__ import annotations

import pytest

from runtime.wiring import Runtime
from simulator.server import Simulator
from simulator.world import World
from tests.simulated import reset_simulator, with_simulator


@pytest.fixture
def world(simulator: Simulator) -> World:
    """The simulated provider's, with nothing sold."""
    return reset_simulator(simulator.world)


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    """The service over it."""
    return with_simulator(runtime, simulator.url)
