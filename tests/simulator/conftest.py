from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from dodopayments import DodoPayments

from simulator.server import Simulator
from simulator.world import Settings, World
from tests.simulator.driver import Control, Provider
from tests.simulator.receiver import KEY, SECRET, Receiver
from tests.waiting import wait_until


@pytest.fixture(scope="session")
def _running() -> Iterator[tuple[Simulator, Receiver]]:
    receiver = Receiver()
    settings = Settings(webhook_url=receiver.url, webhook_secret=SECRET, api_key=KEY, delivery_threads=8)
    receiver.start()
    with Simulator(settings) as simulator:
        yield simulator, receiver
    receiver.stop()


@pytest.fixture
def simulator(_running: tuple[Simulator, Receiver]) -> Simulator:
    """A reset simulator without rate limits and without deliveries left from an earlier test."""
    simulator, receiver = _running
    simulator.world.reset()
    wait_until(lambda: not simulator.world.dispatcher.unfinished(), "nothing is on its way")
    simulator.world.board.turn({"rate_limits": [], "unauthenticated_rate_limits": []})
    receiver.forget()
    return simulator


@pytest.fixture
def receiver(simulator: Simulator, _running: tuple[Simulator, Receiver]) -> Receiver:
    return _running[1]


@pytest.fixture
def world(simulator: Simulator) -> World:
    return simulator.world


@pytest.fixture
def control(simulator: Simulator) -> Iterator[Control]:
    with requests.Session() as session:
        yield Control(session, simulator.control_url)


@pytest.fixture
def provider(simulator: Simulator) -> Iterator[Provider]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {KEY}"
        yield Provider(session, simulator.url)


@pytest.fixture(scope="session")
def _sdk(_running: tuple[Simulator, Receiver]) -> Iterator[DodoPayments]:
    """One client for all tests, because creating one loads all trusted certificates."""
    with DodoPayments(
        bearer_token=KEY,
        webhook_key=SECRET,
        base_url=_running[0].url,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
def sdk(simulator: Simulator, _sdk: DodoPayments) -> DodoPayments:
    return _sdk
