"""Claims over HTTP where the policy buys what is missing: granted, to be bought still, or refused."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from domain.catalog.reader import parse
from runtime.wiring import Runtime
from services.purchases import auto_expand
from services.sync.on_demand import sync_subscription
from simulator.control import actions
from simulator.control.actions import Options
from simulator.server import Simulator
from simulator.world import World
from tests.simulated import CATALOG, applied_writes, sell, units, with_simulator
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import claimed, rows

ACCOUNT = "/v1/accounts/acme"
SEVEN = {"Idempotency-Key": "seven"}


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator) -> Runtime:
    buying = CATALOG.replace('policy = "strict"', 'policy = "auto_expand"\nauto_expand_limit = 4')
    return replace(with_simulator(runtime, simulator.url), catalog=parse(buying, "test catalogue"))


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Five full seats, all of them taken."""
    subscription_id = sell(world, service, {})
    claimed(service, *"abcde")
    return subscription_id


@pytest.fixture
def client(service: Runtime, sold: str, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


@pytest.fixture
def slow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The payment takes longer than a caller waits."""
    world.board.turn({"plan_change_payment": "waits"})
    monkeypatch.setattr(auto_expand, "PURCHASE_TIMEOUT", 0.5)


def claim(client: FlaskClient, member_id: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    body = {"member_id": member_id, "role": "member", **more}
    return client.post(f"{ACCOUNT}/claims", json=body, headers=headers or {})


def told(answer: Any) -> tuple[int, str, bool]:
    return answer.status_code, answer.json["state"], answer.json["awaits_purchase"]


def pays(world: World, service: Runtime, subscription_id: str, payment: str) -> None:
    """The charge comes to an end, and the provider has been looked at."""
    settle = actions.settle_plan_change(world, Options(payment=payment))
    world.apply(subscription_id, settle, silently=True)
    sync_subscription(service, subscription_id, patience=5)


def full(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{ACCOUNT}/seats").json["seats"]["full"]
    return found


def test_a_claim_without_a_seat_is_201_with_the_seat_that_was_bought_for_it(
    client: FlaskClient, world: World, sold: str
):
    answer = claim(client, "eve")
    assert told(answer) == (201, "active", False)
    assert (full(client)["purchased"], full(client)["used"], applied_writes(world)) == (6, 6, 1)


def test_while_the_payment_takes_its_time_the_claim_is_202_and_the_seat_is_held(
    client: FlaskClient, world: World, service: Runtime, sold: str, slow: None
):
    answer = claim(client, "eve")
    assert told(answer) == (202, "held", True)
    assert answer.json["reason"] == "a full seat is held until it is bought"
    assert (full(client)["purchased"], full(client)["held"], full(client)["available"]) == (5, 1, 0)
    pays(world, service, sold, "succeeds")
    again = claim(client, "eve")
    assert (again.status_code, again.json["state"]) == (200, "active")


def test_a_repeated_key_claims_once_and_returns_the_current_state(
    client: FlaskClient, world: World, service: Runtime, sold: str, slow: None
):
    assert claim(client, "eve", SEVEN).status_code == 202
    assert claim(client, "eve", SEVEN).status_code == 202
    pays(world, service, sold, "succeeds")
    granted = claim(client, "eve", SEVEN)
    assert (granted.status_code, granted.json["state"]) == (201, "active")
    assert claim(client, "eve", SEVEN).json == granted.json
    client.delete(f"{ACCOUNT}/members/eve")
    again = claim(client, "eve", SEVEN)
    assert (again.status_code, again.json["claimed_at"] > granted.json["claimed_at"]) == (201, True)
    assert applied_writes(world) == 1


def test_a_repeated_key_finds_an_invitation_confirmed_under_another_id(
    client: FlaskClient, world: World, service: Runtime, sold: str, slow: None
):
    assert claim(client, "invited", SEVEN, hold=True, email="eve@example.com").status_code == 202
    claim(client, "eve", email="eve@example.com")
    pays(world, service, sold, "succeeds")
    again = claim(client, "invited", SEVEN, hold=True, email="eve@example.com")
    assert (again.status_code, again.json["member_id"]) == (201, "eve")


def test_a_purchase_that_is_refused_is_409_with_the_reason(
    client: FlaskClient, world: World, service: Runtime, sold: str
):
    world.apply(sold, actions.set_status(world, Options(status="on_hold")), silently=True)
    refused = claim(client, "eve", SEVEN)
    assert (refused.status_code, refused.json["code"]) == (409, "no_seat_available")
    assert refused.json["detail"].startswith("No seat could be bought. ")
    assert claim(client, "eve", SEVEN).json == refused.json
    refusals = "SELECT data->>'member_id' FROM notices WHERE type = 'seat.claim_refused'"
    assert rows(service, refusals) == ["eve"]


def test_beyond_the_days_limit_409_tells_the_numbers(client: FlaskClient, world: World):
    bought = [claim(client, name).status_code for name in "fghi"]
    refused = claim(client, "eve")
    assert bought == [201] * 4
    assert (refused.status_code, refused.json["code"]) == (409, "no_seat_available")
    assert (refused.json["purchased"], refused.json["used"], refused.json["bought_today"]) == (9, 9, 4)


def test_claims_at_one_moment_are_each_granted_by_one_purchase(
    service: Runtime, sold: str, world: World, open_door: OpenDoor
):
    clients = {name: open_door(service) for name in ("eve", "fay", "gil")}
    together = threading.Barrier(len(clients))
    answers = {}

    def press(name: str) -> None:
        together.wait()
        answers[name] = claim(clients[name], name)

    threads = [threading.Thread(target=press, args=[name]) for name in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(clients, 201)
    assert (applied_writes(world), units(world, sold)) == (1, {"adn_seat": 3})


def test_each_claim_of_a_batch_gets_its_final_result(client: FlaskClient, world: World):
    asked = [{"member_id": name, "role": "member"} for name in ("a", "f", "g", "h", "i", "j")]
    told = client.post(f"{ACCOUNT}/claims/batch", json={"mode": "each", "claims": asked}).json
    assert [one["status"] for one in told["results"]] == [200, 201, 201, 201, 201, 409]
    assert (told["granted"], told["waiting"], told["refused"]) == (5, 0, 1)
    assert applied_writes(world) == 1


def test_some_claims_of_a_batch_may_still_be_pending(client: FlaskClient, slow: None):
    asked = [{"member_id": name, "role": "member"} for name in ("a", "f")]
    told = client.post(f"{ACCOUNT}/claims/batch", json={"mode": "each", "claims": asked}).json
    assert [one["status"] for one in told["results"]] == [200, 202]
    assert (told["granted"], told["waiting"], told["refused"]) == (1, 1, 0)


def test_nothing_is_bought_for_a_batch_that_is_all_or_nothing(client: FlaskClient, world: World):
    asked = [{"member_id": name, "role": "member"} for name in ("f", "g")]
    answer = client.post(f"{ACCOUNT}/claims/batch", json={"mode": "all", "claims": asked})
    assert (answer.status_code, answer.json["code"]) == (409, "batch_refused")
    assert answer.json["results"][0]["problem"]["code"] == "purchase_needed"
    assert applied_writes(world) == 0


def test_a_suspended_member_comes_back_once_a_seat_has_been_bought_by_hand(client: FlaskClient, world: World):
    client.patch(f"{ACCOUNT}/members/a", json={"state": "suspended"})
    claim(client, "eve")
    back = client.patch(f"{ACCOUNT}/members/a", json={"state": "active"})
    assert (back.status_code, back.json["code"], applied_writes(world)) == (409, "purchase_needed", 0)


def test_can_add_says_that_a_seat_would_be_bought(client: FlaskClient):
    told = client.get(f"{ACCOUNT}/can-add?role=member&count=4").json
    assert (told["allowed"], told["code"]) == (True, "granted_by_purchase")
    assert told["message"] == "4 full seats would be bought first."


def test_can_add_says_where_no_more_would_be_bought(client: FlaskClient):
    told = client.get(f"{ACCOUNT}/can-add?role=member&count=5").json
    assert (told["allowed"], told["code"]) == (False, "no_seat_available")
    assert "auto_expand_limit" in told["message"]


def test_an_automatic_purchase_is_marked_as_automatic(client: FlaskClient, service: Runtime, slow: None):
    claim(client, "eve")
    (change,) = client.get(f"{ACCOUNT}/seat-changes").json["seat_changes"]
    assert (change["automatic"], change["state"]) == (True, "submitted")
    assert change["seats"] == {"full": {"before": 5, "after": 6}}


def test_the_explanation_lists_pending_claims(client: FlaskClient, slow: None):
    claim(client, "eve")
    told = client.get(f"{ACCOUNT}/explain").json
    (eve,) = [one for one in told["counted"]["members"] if one["member_id"] == "eve"]
    assert eve["reason"] == "a full seat is held until it is bought"
    assert "1 of them to be bought" in told["seats"]["full"]["use"]
