"""Whatever the provider refuses, at whichever of its calls: what a caller over HTTP is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from runtime.wiring import Runtime
from simulator.billing.lifecycle import changed
from simulator.refusal import Refusal
from simulator.world import World
from tests.provider_codes import CODES, NEXT_STEPS, NO_REFUSALS, Documented
from tests.simulated import sell
from tests.webhook_app.conftest import OpenDoor

ACCOUNT = "/v1/accounts/acme"
CHANGE = f"{ACCOUNT}/seat-changes"
SEATS = {"adn_seat": 13}

# What stands in the provider where each of these calls is answered.
PREVIEW = "simulator.plan_operations.preview"
WRITE = "simulator.plan_operations.change"
DROP = "simulator.api.plan_change.drop_schedule"
SELL = "simulator.api.checkouts.open_session"

BY_CODE = {one.provider_code: one for one in CODES}
REFUSALS = [one for one in CODES if one.provider_code not in NO_REFUSALS]
# Of a subscription that is there; and once nothing is scheduled, nothing is left to be cancelled.
OF_CHANGES = [one for one in REFUSALS if one.provider_code != "NOT_FOUND"]
OF_CANCELLATIONS = [one for one in OF_CHANGES if one.provider_code != "SCHEDULED_PLAN_CHANGE_NOT_FOUND"]
OF_PURCHASES = [
    BY_CODE[name]
    for name in (
        "NOT_FOUND",
        "ON_DEMAND_PLAN_CHANGE_NOT_SUPPORTED",
        "ADDONS_NOT_ALLOWED_FOR_ON_DEMAND",
        "ADDONS_IN_USAGE_BASED_BILLING_NOT_SUPPORTED",
        "MISSING_ADDON_IDS",
        "DUPLICATE_ADDON_IDS_IN_REQUEST",
        "INVALID_QUANTITY",
        "PREVIOUS_PAYMENT_PENDING",
        "TOTAL_PAYMENT_AMOUNT_BELOW_MINIMUM_AMOUNT",
        "REQUEST_AMOUNT_BELOW_MINIMUM",
        "INVALID_REQUEST_BODY",
        "INVALID_REQUEST_PARAMETERS",
        "INVALID_QUERY_PARAMS",
    )
]
TURNED_AWAY = [
    BY_CODE["UNAUTHORIZED"],
    BY_CODE["UNAUTHORIZED"]._replace(provider_status=403),
    BY_CODE["TOO_MANY_REQUESTS"],
]
NOT_ANSWERED = [*TURNED_AWAY, BY_CODE["INTERNAL_SERVER_ERROR"]]

Refuse = Callable[[str, Documented], None]


def each(codes: list[Documented]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("one", codes, ids=lambda one: f"{one.provider_status}-{one.provider_code}")


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, SEATS)


@pytest.fixture
def buyer(service: Runtime, sold: str, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Has the provider answer one of its calls with a code of its own, and with words that are personal."""

    def refuse(call: str, one: Documented) -> None:
        def refuses(*_args: object, **_more: object) -> None:
            raise Refusal(one.provider_status, one.provider_code, "of ada@example.com")

        monkeypatch.setattr(call, refuses)

    return refuse


def preview(client: FlaskClient, **more: Any) -> Any:
    return client.post(f"{CHANGE}/preview", json={"seats": {"full": 12}, **more})


def confirm(client: FlaskClient, token: str) -> Any:
    return client.post(CHANGE, json={"token": token})


def scheduled(client: FlaskClient) -> str:
    """The address of a change that waits for the renewal."""
    change = confirm(client, preview(client, when="at_renewal").json["token"]).json
    assert change["state"] == "scheduled"
    return f"{CHANGE}/{change['change_id']}"


def buy(client: FlaskClient) -> Any:
    wanted = {"product_id": "pdt_team", "seats": {"full": 12}, "second_subscription": True}
    return client.post(f"{ACCOUNT}/checkout", json=wanted)


def assert_refused(answer: Any, one: Documented) -> None:
    """Told in our words, with what to do; the provider's words may be personal."""
    assert (answer.status_code, answer.json["code"]) == (one.status, one.code)
    assert (answer.json["provider_code"], answer.json["retry_helps"]) == (one.provider_code, one.retry_helps)
    assert NEXT_STEPS[one.code] in answer.json["detail"]
    assert "ada@example.com" not in answer.text


def assert_not_answered(answer: Any, one: Documented) -> None:
    assert (answer.status_code, answer.json["code"]) == (503, one.code)
    assert int(answer.headers["Retry-After"]) >= 1
    assert "ada@example.com" not in answer.text


# A preview.


@each(OF_CHANGES)
def test_a_refused_preview_says_what_to_do(buyer: FlaskClient, refuse: Refuse, one: Documented):
    refuse(PREVIEW, one)
    assert_refused(preview(buyer), one)


@each(NOT_ANSWERED)
def test_a_preview_without_a_response_is_503(buyer: FlaskClient, refuse: Refuse, one: Documented):
    refuse(PREVIEW, one)
    answer = preview(buyer)
    assert_not_answered(answer, one)
    assert f"Dodo Payments answered {one.provider_status} {one.provider_code}" in answer.json["detail"]


# A confirmation.


@each(OF_CHANGES)
def test_a_refused_change_failed_and_says_what_to_do(buyer: FlaskClient, refuse: Refuse, one: Documented):
    previewed = preview(buyer).json
    refuse(WRITE, one)
    assert_refused(confirm(buyer, previewed["token"]), one)
    kept = buyer.get(f"{CHANGE}/{previewed['change_id']}").json
    assert (kept["state"], kept["code"], kept["retry_helps"]) == ("failed", one.code, one.retry_helps)


@each(TURNED_AWAY)
def test_a_change_that_was_turned_away_is_503_and_was_not_made(
    buyer: FlaskClient, refuse: Refuse, one: Documented
):
    previewed = preview(buyer).json
    refuse(WRITE, one)
    answer = confirm(buyer, previewed["token"])
    assert_not_answered(answer, one)
    assert answer.json["detail"].endswith("Nothing was changed: preview again.")
    assert buyer.get(f"{CHANGE}/{previewed['change_id']}").json["state"] == "failed"


def test_a_change_at_which_the_provider_stumbled_is_202_until_it_is_known(buyer: FlaskClient, refuse: Refuse):
    token = preview(buyer).json["token"]
    refuse(WRITE, BY_CODE["INTERNAL_SERVER_ERROR"])
    answer = confirm(buyer, token)
    told = (answer.status_code, answer.json["state"], answer.json["code"])
    assert told == (202, "submitted", "outcome_unknown")


@pytest.mark.parametrize("call", [PREVIEW, WRITE])
def test_a_subscription_unknown_to_the_provider_says_what_to_check(
    buyer: FlaskClient, refuse: Refuse, call: str
):
    token = preview(buyer).json["token"]
    refuse(call, BY_CODE["NOT_FOUND"])
    answer = preview(buyer) if call == PREVIEW else confirm(buyer, token)
    assert (answer.status_code, answer.json["code"]) == (409, "subscription_not_at_provider")
    assert answer.json["retry_helps"] is False
    assert "API key" in answer.json["detail"]


# A cancellation.


@each(OF_CANCELLATIONS)
def test_a_refused_cancellation_leaves_the_change_scheduled(
    buyer: FlaskClient, refuse: Refuse, one: Documented
):
    change = scheduled(buyer)
    refuse(DROP, one)
    assert_refused(buyer.delete(change), one)
    assert buyer.get(change).json["state"] == "scheduled"


@pytest.mark.parametrize("status", [404, 422])
def test_a_cancellation_for_a_subscription_that_is_gone_is_told(
    buyer: FlaskClient, refuse: Refuse, status: int
):
    change = scheduled(buyer)
    refuse(DROP, BY_CODE["NOT_FOUND"]._replace(provider_status=status))
    answer = buyer.delete(change)
    assert (answer.status_code, answer.json["code"]) == (409, "subscription_not_at_provider")
    assert answer.json["retry_helps"] is False


@each(TURNED_AWAY)
def test_a_cancellation_that_was_turned_away_is_503_and_the_change_stays_scheduled(
    buyer: FlaskClient, refuse: Refuse, one: Documented
):
    change = scheduled(buyer)
    refuse(DROP, one)
    assert_not_answered(buyer.delete(change), one)
    assert buyer.get(change).json["state"] == "scheduled"


def test_a_cancellation_at_which_the_provider_stumbled_is_202_and_can_be_asked_for_again(
    buyer: FlaskClient, monkeypatch: pytest.MonkeyPatch, refuse: Refuse
):
    change = scheduled(buyer)
    refuse(DROP, BY_CODE["INTERNAL_SERVER_ERROR"])
    answer = buyer.delete(change)
    assert (answer.status_code, answer.json["state"]) == (202, "scheduled")
    monkeypatch.undo()
    again = buyer.delete(change)
    assert (again.status_code, again.json["state"]) == (200, "cancelled")


def test_what_the_customer_took_back_a_moment_before_is_cancelled(
    buyer: FlaskClient, service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    change = scheduled(buyer)
    drop = service.provider.drop_scheduled_change

    def outrun(subscription_id: str) -> None:
        world.apply(sold, lambda one, _: changed(replace(one, scheduled_change=None)), silently=True)
        drop(subscription_id)

    monkeypatch.setattr(service.provider, "drop_scheduled_change", outrun)
    answer = buyer.delete(change)
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert [one["status"] for one in world.requests.report(1)["writes"]] == [404]


# A purchase.


@each(OF_PURCHASES)
def test_a_refused_purchase_says_what_to_do(buyer: FlaskClient, refuse: Refuse, one: Documented):
    refuse(SELL, one)
    assert_refused(buy(buyer), one)


@each(NOT_ANSWERED)
def test_a_purchase_without_a_response_is_503(buyer: FlaskClient, refuse: Refuse, one: Documented):
    refuse(SELL, one)
    assert_not_answered(buy(buyer), one)
