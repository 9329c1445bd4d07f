"""The service over the simulated provider."""

from __future__ import annotations

import pytest

from runtime.wiring import Runtime
from simulator.server import Simulator
from simulator.world import World
from tests.simulated import emptied, served_by


@pytest.fixture
def world(simulator: Simulator) -> World:
    """The simulated provider's, with nothing sold."""
    return emptied(simulator.world)


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    """The service over it."""
    return served_by(runtime, simulator.url)
