"""Every problem of a seat change says whether a retry helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.database import connect
from runtime.wiring import Runtime
from services.purchases import refresh
from simulator.server import Simulator
from simulator.world import World
from tests.simulated import CHANGES, sell, with_simulator
from tests.webhook_app.conftest import OpenDoor, client_with
from tests.webhook_app.setup_helpers import claimed, run_sql

CHANGE = "/v1/accounts/acme/seat-changes"
SECOND = {"product_id": "pdt_team", "seats": {"full": 9}, "second_subscription": True}
SEVEN = {"Idempotency-Key": "seven"}

Ask = Callable[[FlaskClient], Any]


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, world: World) -> Runtime:
    service = with_simulator(runtime, simulator.url)
    sell(world, service, {"adn_seat": 13})
    return service


@pytest.fixture
def buyer(service: Runtime, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


def preview(client: FlaskClient, full: int = 23, **more: Any) -> Any:
    return client.post(f"{CHANGE}/preview", json={"seats": {"full": full}, **more})


def confirm(client: FlaskClient, token: str) -> Any:
    return client.post(CHANGE, json={"token": token})


def drop(client: FlaskClient, change_id: str) -> Any:
    return client.delete(f"{CHANGE}/{change_id}")


def told(answer: Any) -> tuple[int, str, bool]:
    return answer.status_code, answer.json["code"], answer.json["retry_helps"]


def under_one_key(client: FlaskClient) -> Any:
    client.post(f"{CHANGE}/preview", json={"seats": {"full": 23}}, headers=SEVEN)
    return client.post(f"{CHANGE}/preview", json={"seats": {"full": 24}}, headers=SEVEN)


@pytest.mark.parametrize(
    ("ask", "refusal"),
    [
        (lambda client: preview(client, 18), (409, "nothing_to_change")),
        (lambda client: preview(client, 4), (409, "below_minimum")),
        (lambda client: preview(client, 501), (409, "above_maximum")),
        (lambda client: preview(client, release=["nobody"]), (409, "release_refused")),
        (lambda client: preview(client, subscription_id="sub_none"), (409, "no_subscription_to_change")),
        (lambda client: preview(client, when="tomorrow"), (422, "invalid_request")),
        (
            lambda client: client.post(f"{CHANGE}/preview", json={"seats": {"guest": 1}}),
            (422, "unknown_seat_type"),
        ),
        (under_one_key, (422, "idempotency_key_reused")),
        (lambda client: preview(client_with(client.application, None)), (401, "unauthorized")),
        (lambda client: confirm(client, "sct_none"), (404, "seat_change_not_found")),
        (lambda client: drop(client, "chg_none"), (404, "seat_change_not_found")),
    ],
)
def test_retry_does_not_help_if_the_seats_cannot_be_bought(
    buyer: FlaskClient, ask: Ask, refusal: tuple[int, str]
):
    assert told(ask(buyer)) == (*refusal, False)


def test_fewer_seats_than_people_are_not_worth_asking_for_again(buyer: FlaskClient, service: Runtime):
    claimed(service, *(f"member-{number}" for number in range(16)))
    assert told(preview(buyer, 14)) == (409, "seats_in_use", False)


@pytest.mark.parametrize(
    ("meanwhile", "refusal"),
    [
        ("UPDATE seat_changes SET expires_at = now()", (409, "preview_expired", False)),
        ("UPDATE seat_changes SET basis = 'another'", (409, "subscription_changed", False)),
        ("UPDATE seat_changes SET state = 'failed', sent_at = now()", (409, "failed", False)),
        (
            "UPDATE seat_changes SET state = 'failed', sent_at = now(), retry_helps = true",
            (409, "failed", True),
        ),
        ("UPDATE seat_changes SET state = 'cancelled', sent_at = now()", (409, "cancelled", False)),
    ],
)
def test_a_token_that_confirms_nothing_says_whether_it_is_worth_another_preview(
    buyer: FlaskClient, service: Runtime, meanwhile: str, refusal: tuple[int, str, bool]
):
    token = preview(buyer).json["token"]
    run_sql(service, meanwhile)
    assert told(confirm(buyer, token)) == refusal


def test_retry_helps_if_another_change_is_open(buyer: FlaskClient, world: World):
    first, second = (preview(buyer).json["token"] for _ in range(2))
    world.board.turn({"plan_change_payment": "waits"})
    confirm(buyer, first)
    assert told(confirm(buyer, second)) == (409, "change_in_flight", True)


def test_retry_does_not_help_to_cancel_an_applied_change(buyer: FlaskClient):
    done = confirm(buyer, preview(buyer).json["token"]).json
    assert told(drop(buyer, done["change_id"])) == (409, "not_cancellable", False)


# 503.


@pytest.mark.parametrize(
    "ask",
    [preview, lambda client: confirm(client, "sct_none"), lambda client: drop(client, "chg_none")],
    ids=["preview", "confirm", "cancel"],
)
def test_without_the_database_a_retry_helps(buyer: FlaskClient, service: Runtime, ask: Ask):
    service.sessions.configure(bind=connect("postgresql://nobody@127.0.0.1:9/nothing"))
    answer = ask(buyer)
    service.sessions.configure(bind=service.engine)
    assert told(answer) == (503, "database_unavailable", True)


def test_retry_helps_if_the_subscription_cannot_be_synced(
    buyer: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)
    world.board.turn({"api_500_probability": 1.0})
    assert told(preview(buyer)) == (503, "provider_unavailable", True)


def test_retry_helps_if_the_provider_limits_the_rate(buyer: FlaskClient, world: World):
    token = preview(buyer).json["token"]
    world.board.turn({"api_429_probability": 1.0, "api_fault_routes": [CHANGES]})
    assert confirm(buyer, token).json["retry_helps"] is True


@pytest.mark.parametrize("call", ["preview", "confirm", "cancel"])
def test_a_key_without_write_access_is_not_worth_asking_again_with(
    buyer: FlaskClient, world: World, call: str
):
    previewed = preview(buyer, 15, when="at_renewal").json
    if call == "cancel":
        confirm(buyer, previewed["token"])
    world.board.turn({"key_is_read_only": True})
    answer = {
        "preview": lambda: preview(buyer),
        "confirm": lambda: confirm(buyer, previewed["token"]),
        "cancel": lambda: drop(buyer, previewed["change_id"]),
    }[call]()
    assert told(answer) == (503, "provider_key_refused", False)
    assert "Set DODO_PAYMENTS_API_KEY to one and restart the processes." in answer.json["detail"]


@pytest.mark.parametrize("call", ["preview", "confirm", "cancel", "checkout"])
def test_a_key_that_the_provider_does_not_know_is_not_worth_asking_again_with(
    buyer: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch, call: str
):
    previewed = preview(buyer, 15, when="at_renewal").json
    if call == "cancel":
        confirm(buyer, previewed["token"])
    monkeypatch.setattr(world, "settings", replace(world.settings, api_key="another key"))
    answer = {
        "preview": lambda: preview(buyer),
        "confirm": lambda: confirm(buyer, previewed["token"]),
        "cancel": lambda: drop(buyer, previewed["change_id"]),
        "checkout": lambda: buyer.post("/v1/accounts/acme/checkout", json=SECOND),
    }[call]()
    assert told(answer) == (503, "provider_key_refused", False)
    assert "DODO_PAYMENTS_API_KEY" in answer.json["detail"]


def test_the_openapi_document_describes_retry_helps(buyer: FlaskClient):
    problem = buyer.get("/openapi.json").json["components"]["schemas"]["Problem"]
    assert "may succeed later" in problem["properties"]["retry_helps"]["description"]
