"""Test clients of the web application over the real database. Wake-ups are recorded instead of published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from flask import Flask
from flask.testing import FlaskClient

from runtime.wiring import Runtime
from simulator.server import Simulator
from simulator.world import World
from tests.conftest import API_KEY
from tests.simulated import reset_simulator, with_simulator
from tests.webhook_app.contract import Contract, watch
from webhook_app.app import create_app
from webhook_app.auth import ApiKeyAuth
from webhook_app.context import NAME, AppContext
from worker.wake_ups import WakeUps

OpenDoor = Callable[..., FlaskClient]


@dataclass
class RecordedWakeUps:
    woken: list[str] = field(default_factory=list)

    def wake(self, subscription_id: str, delay: float = 0.0) -> None:
        self.woken.append(subscription_id)


@pytest.fixture
def wake_ups() -> RecordedWakeUps:
    return RecordedWakeUps()


class Apps:
    """Apps that tests borrow in turn: describing all routes anew takes longer than most tests."""

    def __init__(self) -> None:
        self._free: list[tuple[Flask, Contract]] = []

    def borrow(self, runtime: Runtime, wake_ups: WakeUps | RecordedWakeUps) -> tuple[Flask, Contract]:
        """An app over this runtime, as good as new."""
        if not self._free:
            app = create_app(runtime, wake_ups)
            return app, watch(app)
        app, contract = self._free.pop()
        app.extensions[NAME] = AppContext(runtime, wake_ups, ApiKeyAuth(runtime))
        contract.breaches.clear()
        return app, contract

    def give_back(self, borrowed: Sequence[tuple[Flask, Contract]]) -> None:
        self._free += borrowed


@pytest.fixture(scope="session")
def apps() -> Apps:
    return Apps()


@pytest.fixture
def open_door(apps: Apps, runtime: Runtime, wake_ups: RecordedWakeUps) -> Iterator[OpenDoor]:
    """A client of an app, by default over the test's own runtime and with a key that may do everything.

    Whatever the apps answer has to be as their OpenAPI document says.
    """
    borrowed: list[tuple[Flask, Contract]] = []

    def client(
        over: Runtime = runtime, *, key: str | None = API_KEY, wakes: WakeUps | RecordedWakeUps = wake_ups
    ) -> FlaskClient:
        app, contract = apps.borrow(over, wakes)
        borrowed.append((app, contract))
        return client_with(app, key)

    yield client
    breaches = [breach for _, contract in borrowed for breach in contract.breaches]
    apps.give_back(borrowed)
    assert breaches == []


def client_with(app: Flask, key: str | None) -> FlaskClient:
    client = app.test_client()
    if key is not None:
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


@pytest.fixture
def client(open_door: OpenDoor) -> FlaskClient:
    """With a key that may do everything."""
    return open_door()


@pytest.fixture
def app(client: FlaskClient) -> Flask:
    return client.application


@pytest.fixture
def anyone(app: Flask) -> FlaskClient:
    """Without a key."""
    return client_with(app, None)


@pytest.fixture
def world(simulator: Simulator) -> World:
    """The simulated provider's, with nothing sold."""
    return reset_simulator(simulator.world)


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    """The service over it."""
    return with_simulator(runtime, simulator.url)
