"""A provider that wants to be left alone: our 503 hands its wait on."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from runtime.wiring import Runtime
from simulator.server import Simulator
from simulator.world import World
from tests.simulated import CHANGES, sell, with_simulator
from tests.webhook_app.conftest import OpenDoor

ACCOUNT = "/v1/accounts/acme"
PREVIEW = f"{ACCOUNT}/seat-changes/preview"
MORE = {"seats": {"full": 23}}


@pytest.fixture
def buyer(runtime: Runtime, simulator: Simulator, world: World, open_door: OpenDoor) -> FlaskClient:
    service = with_simulator(runtime, simulator.url)
    sell(world, service, {"adn_seat": 13})
    return open_door(service)


def left_alone(world: World, route: str, wait: str | None) -> None:
    """Calls of this kind are too many, and the next is welcome after so many seconds."""
    world.board.turn({"api_429_probability": 1.0, "retry_after": wait, "api_fault_routes": [route]})


@pytest.mark.parametrize(
    ("wait", "told"), [("37", "37"), ("36.2", "37"), ("1", "1"), ("0", "1"), (None, "1"), ("soon", "1")]
)
def test_the_wait_is_handed_on_in_whole_seconds_and_never_none(
    buyer: FlaskClient, world: World, wait: str | None, told: str
):
    left_alone(world, f"{CHANGES}/preview", wait)
    answer = buyer.post(PREVIEW, json=MORE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, told)


def test_the_wait_of_a_change_that_was_not_made_is_handed_on(buyer: FlaskClient, world: World):
    token = buyer.post(PREVIEW, json=MORE).json["token"]
    left_alone(world, CHANGES, "37")
    answer = buyer.post(f"{ACCOUNT}/seat-changes", json={"token": token})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "37")


def test_the_wait_for_a_checkout_is_handed_on(buyer: FlaskClient, world: World):
    left_alone(world, "POST /checkouts", "37")
    wanted = {"product_id": "pdt_team", "second_subscription": True, **MORE}
    answer = buyer.post(f"{ACCOUNT}/checkout", json=wanted)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "37")
