"""Ending a subscription over HTTP, against the simulated provider: what is answered, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.api_key import Scope
from runtime.wiring import Runtime
from services.purchases.settle_ending import settle_due
from services.sync.on_demand import sync_subscription
from simulator.billing import lifecycle, portal
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.services.purchases.endings import sent_long_ago, writes
from tests.simulated import sell, sell_second_subscription
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import claimed, key_with, opened

pytestmark = pytest.mark.long(seconds=14)

CANCELLATIONS = "/v1/accounts/acme/cancellations"
CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
SEVEN = {"Idempotency-Key": "seven"}


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Eighteen full seats and four viewers."""
    return sell(world, service, CART)


@pytest.fixture
def buyer(service: Runtime, sold: str, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


def preview(client: FlaskClient, when: str = "at_renewal", **more: Any) -> Any:
    return client.post(f"{CANCELLATIONS}/preview", json={"when": when, **more})


def confirm(client: FlaskClient, token: str, **headers: str) -> Any:
    return client.post(CANCELLATIONS, json={"token": token}, headers=headers)


def cancelled(client: FlaskClient, when: str = "at_renewal", **more: Any) -> Any:
    return confirm(client, preview(client, when, **more).json["token"])


def undo(client: FlaskClient, answer: Any, **headers: str) -> Any:
    return client.delete(f"{CANCELLATIONS}/{answer.json['cancellation_id']}", headers=headers)


def seats(client: FlaskClient) -> Any:
    return client.get("/v1/accounts/acme/seats").json


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


# What is answered.


def test_a_preview_shows_the_end_the_people_and_a_token(buyer: FlaskClient, service: Runtime, sold: str):
    claimed(service, "ada", "bob")
    answer = preview(buyer)
    shown = answer.json
    assert (answer.status_code, shown["state"], shown["subscription_id"]) == (200, "previewed", sold)
    full = shown["seats"]["full"]
    assert {name: full[name] for name in ("before", "after", "used", "over", "suspended_at")} == {
        "before": 18,
        "after": 0,
        "used": 2,
        "over": 2,
        "suspended_at": None,
    }
    assert full["claims_refused_from"] == shown["ends_at"]
    assert {one["member_id"] for one in shown["leavers"]} == {"ada", "bob"}
    assert (shown["total_over"], shown["status_after"], shown["remaining"]) == (2, "ended", [])
    assert (shown["credit"], shown["unused_days"], shown["sent_at"]) == (None, 0, None)
    assert shown["token"].startswith("cnt_")


def test_a_confirmed_cancellation_is_scheduled_and_the_seats_stay_until_then(
    buyer: FlaskClient, world: World, sold: str
):
    answer = cancelled(buyer)
    assert (answer.status_code, answer.json["state"]) == (200, "scheduled")
    assert (seats(buyer)["status"], seats(buyer)["seats"]["full"]["purchased"]) == ("ok", 18)
    assert seats(buyer)["subscriptions"][0]["cancel_at_next_billing_date"]


def test_one_at_once_is_applied_and_read(buyer: FlaskClient, world: World, sold: str):
    answer = cancelled(buyer, "now")
    assert (answer.status_code, answer.json["state"]) == (200, "applied")
    assert (seats(buyer)["status"], seats(buyer)["seats"]["full"]["purchased"]) == ("ended", 0)
    assert world.state.get(sold).status == "cancelled"


def test_it_can_be_read_and_listed_and_shows_its_token_no_more(buyer: FlaskClient):
    done = cancelled(buyer).json
    assert buyer.get(f"{CANCELLATIONS}/{done['cancellation_id']}").json == done
    assert buyer.get(CANCELLATIONS).json == {"cancellations": [done]}
    assert not {"token", "leavers", "total_over"} & done.keys()


def test_a_scheduled_one_can_be_undone_and_the_subscription_is_renewed(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    answer = undo(buyer, cancelled(buyer))
    assert (answer.status_code, answer.json["state"]) == (200, "undone")
    world.apply(sold, actions.renew(world, Options()), silently=True)
    sync_subscription(service, sold, patience=5)
    assert (seats(buyer)["status"], buyer.get(CANCELLATIONS).json) == ("ok", {"cancellations": []})


def test_one_that_the_customer_made_in_the_portal_is_listed_and_can_be_undone(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    world.apply(sold, portal.cancel_later, silently=True)
    sync_subscription(service, sold, patience=5)
    (found,) = buyer.get(CANCELLATIONS).json["cancellations"]
    assert (found["state"], found["at_provider"], found["seats"]) == ("scheduled", True, None)
    answer = buyer.delete(f"{CANCELLATIONS}/{found['cancellation_id']}")
    assert (answer.status_code, answer.json["state"]) == (200, "undone")
    assert not world.state.get(sold).cancel_at_next_billing_date


def test_a_lost_answer_is_202_and_the_notice_tells_the_end(buyer: FlaskClient, world: World):
    token = preview(buyer).json["token"]
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": ["PATCH *"]})
    answer = confirm(buyer, token)
    assert (answer.status_code, answer.json["state"], answer.json["code"]) == (
        202,
        "submitted",
        "outcome_unknown",
    )
    assert [one["is_applied"] for one in writes(world)] == [False]


def test_one_that_never_arrived_is_409_when_it_is_asked_for_again(
    buyer: FlaskClient, service: Runtime, world: World
):
    token = preview(buyer).json["token"]
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": ["PATCH *"]})
    confirm(buyer, token)
    sent_long_ago(service)
    settle_due(service, until=float("inf"))
    answer = confirm(buyer, token)
    assert told(answer) == (409, "not_applied")
    assert answer.json["retry_helps"]


def test_an_undo_whose_answer_is_lost_is_202_and_pending(buyer: FlaskClient, world: World):
    done = cancelled(buyer)
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": ["PATCH *"]})
    answer = undo(buyer, done)
    assert (answer.status_code, answer.json["state"], answer.json["undo_pending"]) == (202, "scheduled", True)


def test_a_repeated_key_gets_the_same_response(buyer: FlaskClient, world: World):
    token = preview(buyer).json["token"]
    answers = [confirm(buyer, token, **SEVEN) for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    assert len(writes(world)) == 1


def test_a_refusal_that_says_retry_is_not_repeated_under_its_key(
    buyer: FlaskClient, service: Runtime, world: World
):
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": ["PATCH *"]})
    token = preview(buyer).json["token"]
    asked = confirm(buyer, token)
    refused = undo(buyer, asked, **SEVEN)
    assert told(refused) == (409, "change_in_flight")
    assert refused.json["retry_helps"]
    sent_long_ago(service)
    settle_due(service, until=float("inf"))
    assert told(undo(buyer, asked, **SEVEN)) == (409, "not_undoable")


def test_of_two_subscriptions_the_one_to_end_is_named(
    buyer: FlaskClient, service: Runtime, world: World, sold: str
):
    second = sell_second_subscription(world, service, sold)
    answer = preview(buyer, "now")
    assert told(answer) == (409, "no_subscription_to_change")
    assert set(answer.json["subscriptions"]) == {sold, second}
    shown = preview(buyer, "now", subscription_id=sold).json
    assert shown["remaining"] == [{"subscription_id": second, "seats": {"full": 5}}]


# What cannot be asked.


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"when": "tomorrow"},
        {"when": None},
        {"when": "now", "subscription_id": ""},
        {"when": "now", "refund": True},
    ],
)
def test_a_malformed_preview_is_422_and_names_the_place(client: FlaskClient, body: dict[str, Any]):
    answer = client.post(f"{CANCELLATIONS}/preview", json=body)
    assert told(answer) == (422, "invalid_request")
    assert answer.json["errors"]


def after_the_end(client: FlaskClient) -> Any:
    cancelled(client, "now")
    return client.get("/v1/accounts/acme/seats").json["subscriptions"][0]["subscription_id"]


@pytest.mark.parametrize(
    ("ask", "refusal"),
    [
        (
            lambda client: preview(client, subscription_id="sub_none"),
            (409, "no_subscription_to_change"),
        ),
        (
            lambda client: preview(client, "now", subscription_id=after_the_end(client)),
            (409, "already_ending"),
        ),
        (lambda client: undo(client, cancelled(client, "now")), (409, "not_undoable")),
        (lambda client: confirm(client, "cnt_none"), (404, "cancellation_not_found")),
        (lambda client: confirm(client, ""), (422, "invalid_request")),
        (lambda client: client.get(f"{CANCELLATIONS}/can_none"), (404, "cancellation_not_found")),
        (lambda client: client.delete(f"{CANCELLATIONS}/can_none"), (404, "cancellation_not_found")),
        (lambda client: client.get("/v1/accounts/nobody/cancellations"), (404, "account_not_found")),
        (
            lambda client: client.post("/v1/accounts/nobody/cancellations/preview", json={"when": "now"}),
            (404, "account_not_found"),
        ),
    ],
)
def test_what_cannot_end_is_refused_with_the_reason(
    buyer: FlaskClient, ask: Callable[..., Any], refusal: tuple[int, str]
):
    answer = ask(buyer)
    assert told(answer) == refusal
    assert answer.json["retry_helps"] is False


def test_a_subscription_on_hold_has_no_renewal(buyer: FlaskClient, world: World, sold: str):
    world.apply(sold, lifecycle.hold, silently=True)
    assert told(preview(buyer)) == (409, "not_endable_at_renewal")


def test_a_key_without_write_access_is_503_and_ends_nothing(buyer: FlaskClient, world: World, sold: str):
    token = preview(buyer, "now").json["token"]
    world.board.turn({"key_is_read_only": True})
    assert told(confirm(buyer, token)) == (503, "provider_key_refused")
    assert world.state.get(sold).status == "active"


def test_another_account_can_neither_read_nor_confirm_nor_undo_it(buyer: FlaskClient, service: Runtime):
    opened(service, "other")
    previewed = preview(buyer).json
    theirs = f"/v1/accounts/other/cancellations/{previewed['cancellation_id']}"
    token = {"token": previewed["token"]}
    answers = [
        buyer.get(theirs),
        buyer.delete(theirs),
        buyer.post("/v1/accounts/other/cancellations", json=token),
    ]
    assert {told(answer) for answer in answers} == {(404, "cancellation_not_found")}


# Who may.


@pytest.mark.parametrize("scope", [Scope.READ, Scope.CLAIM])
def test_ending_needs_a_key_for_billing(service: Runtime, open_door: OpenDoor, scope: Scope):
    client = open_door(service, key=key_with(service, scope))
    answers = [preview(client), confirm(client, "cnt_1"), client.delete(f"{CANCELLATIONS}/can_1")]
    assert {told(answer) for answer in answers} == {(403, "missing_scope")}


def test_reading_needs_a_key_for_reading(service: Runtime, sold: str, open_door: OpenDoor):
    paths = [CANCELLATIONS, f"{CANCELLATIONS}/can_1"]
    reader = open_door(service, key=key_with(service, Scope.READ))
    assert [reader.get(path).status_code for path in paths] == [200, 404]
    payer = open_door(service, key=key_with(service, Scope.BILLING))
    assert [payer.get(path).status_code for path in paths] == [403, 403]
