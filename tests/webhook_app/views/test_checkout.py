"""Checkout over HTTP, against the simulated provider: what is sold, and whose it is once it is paid."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from domain.catalog.reader import parse
from models.api_key import Scope
from providers.dodo.provider import Dodo
from providers.http import Client
from providers.rate_limit.budget import Budget, parse_rate
from providers.signature import Verifier
from runtime.wiring import Runtime
from services.sync.batch import drain
from services.sync.on_demand import sync_subscription
from simulator.server import Simulator
from tests.conftest import PROVIDER_KEY, SECRET
from tests.docs.manual import PAGES, blocks
from tests.simulator.driver import Control
from tests.waiting import wait_until
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import key_with, opened, run_sql

CHECKOUT = "/v1/accounts/acme/checkout"
CATALOG = """
[defaults]
account_key = "workspace"

[products.pdt_team]
included = { full = 5 }
addons.adn_seat = { full = 1 }
addons.adn_pack_10 = { full = 10 }
addons.adn_viewer = { viewer = 1 }
addons.adn_support = {}
minimum = { full = 7 }
maximum = { full = 500 }

[products.pdt_per_user]
per_unit = { full = 1 }

[products.pdt_gone]
included = { full = 1 }
"""


@pytest.fixture
def control(simulator: Simulator) -> Iterator[Control]:
    simulator.world.reset()
    with requests.Session() as session:
        control = Control(session, simulator.control_url)
        control.turn(rate_limits=[])
        yield control


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator, control: Control) -> Runtime:
    """With the simulated provider, and an account that has bought nothing."""
    client = Client(
        provider="Dodo Payments",
        base_url=simulator.url,
        api_key=PROVIDER_KEY,
        budget=Budget(parse_rate("100000/second")),
        answer_seconds=0.3,
    )
    service = replace(
        runtime, provider=Dodo(Verifier([SECRET]), client), catalog=parse(CATALOG, "test catalogue")
    )
    opened(service, "acme")
    return service


@pytest.fixture
def buyer(service: Runtime, open_door: OpenDoor) -> FlaskClient:
    return open_door(service)


def wish(**changed: Any) -> dict[str, Any]:
    return {"product_id": "pdt_team", "seats": {"full": 27}, **changed}


def refused(client: FlaskClient, **changed: Any) -> tuple[int, str]:
    answer = client.post(CHECKOUT, json=wish(**changed))
    return answer.status_code, answer.json["code"]


def session_at_provider(control: Control, answer: Any) -> Any:
    return control.call("GET", f"/checkouts/{answer.json['session_id']}")


def sessions_opened(control: Control) -> int:
    return int(control.call("GET", "/requests")["applied"].get("POST /checkouts", 0))


# What is sold.


def test_seats_become_the_cheapest_addons(buyer: FlaskClient):
    answer = buyer.post(CHECKOUT, json=wish(seats={"full": 27, "viewer": 3}))
    assert answer.status_code == 201
    assert answer.json["checkout_url"].endswith(answer.json["session_id"])
    told = {name: answer.json[name] for name in ("product_id", "quantity", "addons", "seats")}
    assert told == {
        "product_id": "pdt_team",
        "quantity": 1,
        "addons": [
            {"addon_id": "adn_pack_10", "quantity": 2},
            {"addon_id": "adn_seat", "quantity": 2},
            {"addon_id": "adn_viewer", "quantity": 3},
        ],
        "seats": {"full": 27, "viewer": 3},
    }


def test_the_providers_prices_decide_between_packs_and_single_seats(buyer: FlaskClient, control: Control):
    control.call("POST", "/addons", id="adn_pack_10", name="Dear pack", price=99_999)
    assert buyer.post(CHECKOUT, json=wish()).json["addons"] == [{"addon_id": "adn_seat", "quantity": 22}]


def test_what_the_provider_no_longer_sells_is_not_in_the_cart(buyer: FlaskClient, control: Control):
    control.call("POST", "/addons", id="adn_pack_10", name="Old pack", price=1, archived=True)
    assert buyer.post(CHECKOUT, json=wish()).json["addons"] == [{"addon_id": "adn_seat", "quantity": 22}]


def test_seats_that_are_sold_per_unit_are_the_products_quantity(buyer: FlaskClient):
    answer = buyer.post(CHECKOUT, json=wish(product_id="pdt_per_user", seats={"full": 12}))
    assert (answer.json["quantity"], answer.json["addons"], answer.json["seats"]) == (12, [], {"full": 12})


def test_where_there_is_but_one_way_to_buy_nobody_is_asked_for_prices(buyer: FlaskClient, control: Control):
    buyer.post(CHECKOUT, json=wish(product_id="pdt_per_user", seats={"full": 12}))
    assert control.call("GET", "/requests")["routes"] == {"POST /checkouts": 1}


def test_without_a_word_about_seats_the_minimum_is_sold(buyer: FlaskClient):
    answer = buyer.post(CHECKOUT, json={"product_id": "pdt_team"})
    assert answer.json["seats"] == {"full": 7, "viewer": 0}


def test_the_customer_and_the_way_back_are_handed_on(buyer: FlaskClient, control: Control):
    customer = {"email": "ada@example.com", "name": "Ada"}
    answer = buyer.post(CHECKOUT, json=wish(customer=customer, return_url="https://app.example.com/paid"))
    asked = session_at_provider(control, answer)
    assert {name: asked["customer"][name] for name in customer} == customer
    (write,) = control.call("GET", "/requests")["writes"]
    assert orjson.loads(write["body"])["return_url"] == "https://app.example.com/paid"


def test_the_manuals_example_is_one(buyer: FlaskClient, service: Runtime):
    opened(service, "newcomer")
    page = "docs/seat-changes.md"
    (shown,) = (block for block in blocks(page, "bash") if "/checkout" in block)
    body = orjson.loads(shown.split("-d '")[1].split("'")[0])
    answer = buyer.post("/v1/accounts/newcomer/checkout", json=body)
    assert answer.status_code == 201
    assert all(f"`{name}`" in PAGES[page] for name in answer.json)


# Whose it is.


@pytest.fixture
def address(service: Runtime, buyer: FlaskClient) -> Iterator[str]:
    """The service, as the provider's webhooks reach it."""
    server = make_server("127.0.0.1", 0, buyer.application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/webhooks/dodo"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_paid_checkout_gives_the_account_its_seats_at_the_first_webhook(
    buyer: FlaskClient, service: Runtime, control: Control, address: str
):
    control.turn(webhook_url=address)
    answer = buyer.post(CHECKOUT, json=wish())
    paid = control.call("POST", f"/checkouts/{answer.json['session_id']}/complete")
    wait_for_webhook(buyer)
    drain(service, [paid["subscription_id"]])
    document = buyer.get("/v1/accounts/acme/seats").json
    assert document["seats"]["full"]["purchased"] == 27
    assert [one["subscription_id"] for one in document["subscriptions"]] == [paid["subscription_id"]]


def wait_for_webhook(client: FlaskClient) -> None:
    wait_until(lambda: client.get("/v1/inbox").json["events"], "a webhook has come")


def test_without_a_metadata_key_nobody_can_tell_whose_purchase_it_is(
    service: Runtime, open_door: OpenDoor, control: Control
):
    unlinked = parse(CATALOG.replace('"workspace"', '""'), "test catalogue")
    buyer = open_door(replace(service, catalog=unlinked))
    assert refused(buyer) == (409, "purchase_unlinked")
    assert sessions_opened(control) == 0


# What cannot be bought.


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"product_id": "pdt_none"}, (404, "product_not_found")),
        ({"product_id": "pdt_gone", "seats": {}}, (422, "not_at_provider")),
        ({"seats": {"full": 6}}, (409, "below_minimum")),
        ({"seats": {"full": 501}}, (409, "above_maximum")),
        ({"seats": {"guest": 1}}, (422, "unknown_seat_type")),
        ({"customer": {"customer_id": "cus_none"}}, (422, "not_at_provider")),
    ],
)
def test_what_cannot_be_bought_is_told(buyer: FlaskClient, changed: dict[str, Any], told: tuple[int, str]):
    assert refused(buyer, **changed) == told


def test_an_account_that_does_not_exist_buys_nothing(buyer: FlaskClient, control: Control):
    answer = buyer.post("/v1/accounts/nobody/checkout", json=wish())
    assert (answer.status_code, answer.json["code"]) == (404, "account_not_found")
    assert sessions_opened(control) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"seats": {"full": -1}},
        {"seats": {"full": "27"}},
        {"seats": {"full": True}},
        {"return_url": "javascript:alert(1)"},
        {"customer": {}},
        {"customer": {"customer_id": "cus_1", "email": "ada@example.com"}},
        {"customer": {"customer_id": "cus_1", "name": "Ada"}},
        {"product_id": ""},
        {"coupon": "FREE"},
    ],
)
def test_a_malformed_wish_is_refused(buyer: FlaskClient, changed: dict[str, Any]):
    assert refused(buyer, **changed) == (422, "invalid_request")


def test_buying_needs_a_key_for_billing(service: Runtime, open_door: OpenDoor):
    assert refused(open_door(service, key=key_with(service, Scope.READ, Scope.CLAIM)))[0] == 403
    assert (
        open_door(service, key=key_with(service, Scope.BILLING)).post(CHECKOUT, json=wish()).status_code
        == 201
    )


# Doing it twice, and a provider that is not well.


def test_one_idempotency_key_opens_one_page(buyer: FlaskClient, control: Control):
    first, again = (buyer.post(CHECKOUT, json=wish(), headers={"Idempotency-Key": "buy-1"}) for _ in range(2))
    assert (first.status_code, first.data) == (again.status_code, again.data)
    assert sessions_opened(control) == 1
    other = buyer.post(CHECKOUT, json=wish(seats={"full": 9}), headers={"Idempotency-Key": "buy-1"})
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")


def test_two_calls_at_once_under_one_key_get_the_same_page(buyer: FlaskClient, control: Control):
    control.turn(api_fault_routes=["POST /checkouts"], api_latency_seconds=0.1)
    answers: list[Any] = []

    def call() -> None:
        client = buyer.application.test_client()
        headers = {"Authorization": buyer.environ_base["HTTP_AUTHORIZATION"], "Idempotency-Key": "buy-1"}
        answers.append(client.post(CHECKOUT, json=wish(), headers=headers))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].data == answers[1].data


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"api_500_probability": 1.0}, (503, "provider_unavailable")),
        ({"api_cut_probability": 1.0}, (503, "provider_unavailable")),
        ({"api_hang_probability": 1.0, "api_hang_seconds": 0.5}, (503, "provider_unavailable")),
        ({"key_is_read_only": True}, (503, "provider_key_refused")),
    ],
)
def test_a_provider_that_gives_no_page_is_told_and_trying_again_works(
    buyer: FlaskClient, control: Control, knobs: dict[str, Any], told: tuple[int, str]
):
    control.turn(api_fault_routes=["POST /checkouts"], **knobs)
    headers = {"Idempotency-Key": "buy-1"}
    answer = buyer.post(CHECKOUT, json=wish(), headers=headers)
    assert (answer.status_code, answer.json["code"]) == told
    control.turn(api_fault_routes=[], key_is_read_only=False)
    assert buyer.post(CHECKOUT, json=wish(), headers=headers).status_code == 201


# An account that has bought before.


def has_bought(service: Runtime, control: Control, status: str) -> None:
    sold = control.call(
        "POST",
        "/subscriptions",
        product_id="pdt_team",
        addons=[],
        metadata={"workspace": "acme"},
        status=status,
        silently=True,
    )
    sync_subscription(service, sold["subscription_id"], patience=5)


@pytest.mark.parametrize("status", ["active", "past_due", "on_hold", "paused"])
def test_an_account_that_pays_already_changes_its_seats_instead(
    buyer: FlaskClient, service: Runtime, control: Control, status: str
):
    has_bought(service, control, status)
    answer = buyer.post(CHECKOUT, json=wish())
    assert (answer.status_code, answer.json["code"]) == (409, "subscription_exists")
    assert "Change its seats instead" in answer.json["detail"]
    assert sessions_opened(control) == 0


UNVERIFIED = (
    "UPDATE subscriptions SET unverified = snapshot, raised_status = status, raised_seats = seats, "
    "raised_effect = effect, snapshot = NULL, verified_at = NULL, status = NULL, synced = 0"
)
NOTHING_KNOWN = "UPDATE subscriptions SET snapshot = NULL, verified_at = NULL, status = NULL, synced = 0"
MISSING = "UPDATE subscriptions SET missing_since = now()"


@pytest.mark.parametrize("known", [UNVERIFIED, NOTHING_KNOWN, MISSING])
def test_what_may_have_been_paid_for_is_not_bought_again(
    buyer: FlaskClient, service: Runtime, control: Control, known: str
):
    has_bought(service, control, "active")
    run_sql(service, known)
    answer = buyer.post(CHECKOUT, json=wish())
    assert (answer.status_code, answer.json["code"]) == (409, "subscription_exists")


@pytest.mark.parametrize(
    "over",
    [
        "UPDATE subscriptions SET missing_since = now(), gone_at = now()",
        f"{NOTHING_KNOWN}, hint = 0",
    ],
    ids=["not known to the provider any more", "never known to the provider"],
)
def test_what_the_provider_does_not_know_is_bought_anew(
    buyer: FlaskClient, service: Runtime, control: Control, over: str
):
    has_bought(service, control, "active")
    run_sql(service, over)
    assert buyer.post(CHECKOUT, json=wish()).status_code == 201


@pytest.mark.parametrize("status", ["active", "on_hold"])
def test_a_second_subscription_can_be_bought_on_purpose(
    buyer: FlaskClient, service: Runtime, control: Control, status: str
):
    has_bought(service, control, status)
    assert buyer.post(CHECKOUT, json=wish(second_subscription=True)).status_code == 201


@pytest.mark.parametrize("status", ["pending", "cancelled", "failed", "expired"])
def test_what_was_never_paid_or_has_ended_is_bought_anew(
    buyer: FlaskClient, service: Runtime, control: Control, status: str
):
    has_bought(service, control, status)
    assert buyer.post(CHECKOUT, json=wish()).status_code == 201


def test_what_the_provider_has_not_known_for_its_term_is_bought_anew(
    buyer: FlaskClient, service: Runtime, control: Control
):
    has_bought(service, control, "active")
    run_sql(service, "UPDATE subscriptions SET missing_since = now(), gone_at = now()")
    assert buyer.post(CHECKOUT, json=wish()).status_code == 201
