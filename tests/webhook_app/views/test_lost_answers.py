"""A change whose answer was lost, as its caller hears of it: under way, until it is known how it ended."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from providers.dodo.provider import Dodo
from runtime.wiring import Runtime
from services.purchases import refresh
from services.purchases.settle import settle_due
from simulator.server import Simulator
from simulator.world import World
from tests.simulated import CHANGES, applied_writes, sell, with_simulator
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import run_sql
from tests.webhook_app.views.test_seat_changes import CART, CHANGE, SEVEN, confirm, preview, purchased

CUT = ["api_cut_probability", "api_cut_before_probability"]


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """From the write on, every connection to the provider is cut as the test has it."""
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)
    served = with_simulator(runtime, simulator.url)

    class Cut(Dodo):
        knob = CUT[0]

        def change(self, plan, *, change_id):
            world.board.turn({self.knob: 1.0})
            super().change(plan, change_id=change_id)

    return replace(served, provider=Cut(served.provider._verifier, served.provider._client))


@pytest.fixture
def buyer(service: Runtime, world: World, open_door: OpenDoor) -> FlaskClient:
    sell(world, service, CART)
    return open_door(service)


def mended(world: World) -> None:
    world.board.turn(dict.fromkeys(CUT, 0.0))


def a_minute_later(service: Runtime) -> None:
    """What was sent is settled by the worker, and nobody asks for it."""
    run_sql(service, "UPDATE seat_changes SET sent_at = sent_at - interval '1 minute', next_at = now()")
    run_sql(service, "UPDATE subscriptions SET next_at = now(), lease_until = NULL")
    settle_due(service, until=time.monotonic() + 30)


def requests_sent(world: World) -> int:
    routes = world.requests.report(0)["routes"]
    assert isinstance(routes, dict)
    return int(routes[CHANGES])


@pytest.mark.parametrize(("knob", "state", "seats"), [(CUT[0], "applied", 23), (CUT[1], "failed", 18)])
def test_a_change_whose_answer_was_lost_is_202_and_later_read_as_it_ended(
    buyer: FlaskClient, service: Runtime, world: World, *, knob: str, state: str, seats: int
):
    service.provider.knob = knob
    answer = confirm(buyer, preview(buyer).json["token"])
    assert (answer.status_code, answer.json["state"], answer.json["code"]) == (
        202,
        "submitted",
        "outcome_unknown",
    )
    mended(world)
    a_minute_later(service)
    read = buyer.get(f"{CHANGE}/{answer.json['change_id']}").json
    assert (read["state"], purchased(buyer), requests_sent(world)) == (state, seats, 1)


def test_whoever_presses_again_meanwhile_is_told_how_it_stands_and_sends_nothing(
    buyer: FlaskClient, service: Runtime, world: World
):
    token = preview(buyer).json["token"]
    assert [confirm(buyer, token, **SEVEN).status_code for _ in range(2)] == [202, 202]
    assert confirm(buyer, token).status_code == 202
    mended(world)
    a_minute_later(service)
    assert [confirm(buyer, token, **headers).json["state"] for headers in (SEVEN, {})] == ["applied"] * 2
    assert (requests_sent(world), applied_writes(world)) == (1, 1)


def test_until_it_is_known_it_stands_among_the_changes_under_way(
    buyer: FlaskClient, service: Runtime, world: World
):
    lost = confirm(buyer, preview(buyer).json["token"]).json
    assert [one["change_id"] for one in buyer.get(CHANGE).json["seat_changes"]] == [lost["change_id"]]
    mended(world)
    a_minute_later(service)
    assert buyer.get(CHANGE).json == {"seat_changes": []}
