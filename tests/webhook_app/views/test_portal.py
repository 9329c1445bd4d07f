"""Links to the customer portal: made for the one who pays, given once, and kept nowhere."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from models.all_tables import TABLES
from models.api_key import Scope
from runtime.wiring import Runtime
from services.ledger import links
from services.sync.on_demand import sync_subscription
from simulator.billing import lifecycle
from simulator.world import World
from tests.factories import a_cause
from tests.simulated import sell, sell_second_subscription
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import key_with, opened

PORTAL = "/v1/accounts/acme/portal-session"
SESSIONS = "POST /customers/<customer_id>/customer-portal/session"


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, {"adn_seat": 3})


@pytest.fixture
def payer(service: Runtime, sold: str, open_door: OpenDoor) -> FlaskClient:
    return open_door(service, key=key_with(service, Scope.BILLING))


def open_portal(client: FlaskClient, account: str = "acme", **body: Any) -> Any:
    return client.post(f"/v1/accounts/{account}/portal-session", json=body)


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


def customer_of(world: World, subscription_id: str) -> str:
    return world.state.get(subscription_id).customer.customer_id


def sold_to_another_customer(world: World, service: Runtime) -> str:
    """A second subscription of the account, which another customer pays for and the app has linked."""
    other = sell(world, service, {"adn_seat": 1}, account_id="other")
    with service.transaction() as session:
        links.link(session, "acme", other, service.catalog, a_cause())
    sync_subscription(service, other, patience=5)
    return other


def test_the_link_is_for_the_customer_who_pays(payer: FlaskClient, world: World, sold: str):
    answer = open_portal(payer, return_url="https://app.example/billing")
    assert answer.status_code == 201
    assert answer.json["url"].startswith("https://portal.simulator.example/session/")
    assert answer.json["customer_id"] == customer_of(world, sold)
    (asked,) = [one for one in world.requests.report(100)["requests"] if one.route == SESSIONS]
    assert asked.query == "return_url=https%3A%2F%2Fapp.example%2Fbilling"


def test_no_cache_keeps_it(payer: FlaskClient):
    assert open_portal(payer).headers["Cache-Control"] == "no-store"


def test_each_call_gives_another_link_also_under_one_key(payer: FlaskClient):
    headers = {"Idempotency-Key": "seven"}
    answers = [payer.post(PORTAL, json={}, headers=headers) for _ in range(2)]
    assert answers[0].json["url"] != answers[1].json["url"]
    assert "Idempotency-Replayed" not in answers[1].headers


def test_it_is_neither_stored_nor_logged(payer: FlaskClient, service: Runtime):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        url = payer.post(PORTAL, json={}, headers={"Idempotency-Key": "seven"}).json["url"]
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    secret = url.rpartition("/")[2]
    assert secret not in log.getvalue()
    with service.sessions() as session:
        kept = {
            table.__tablename__
            for table in TABLES
            if session.scalar(
                text(
                    f"SELECT EXISTS (SELECT FROM {table.__tablename__} AS kept WHERE kept::text LIKE :secret)"
                ),
                {"secret": f"%{secret}%"},
            )
        }
    assert kept == set()


def test_two_subscriptions_of_one_customer_have_one_portal(
    payer: FlaskClient, service: Runtime, world: World, sold: str
):
    sell_second_subscription(world, service, sold)
    assert open_portal(payer).status_code == 201


def test_of_several_customers_the_subscription_says_which(
    payer: FlaskClient, service: Runtime, world: World, sold: str
):
    other = sold_to_another_customer(world, service)
    answer = open_portal(payer)
    assert told(answer) == (409, "several_customers")
    assert answer.json["customers"] == {
        customer_of(world, sold): [sold],
        customer_of(world, other): [other],
    }
    chosen = open_portal(payer, subscription_id=other)
    assert chosen.json["customer_id"] == customer_of(world, other)


def test_a_customer_whose_subscription_has_ended_is_not_asked_about_while_another_pays(
    payer: FlaskClient, service: Runtime, world: World, sold: str
):
    other = sold_to_another_customer(world, service)
    world.apply(other, lifecycle.cancel, silently=True)
    sync_subscription(service, other, patience=5)
    assert open_portal(payer).json["customer_id"] == customer_of(world, sold)


def test_invoices_can_be_seen_after_the_end(payer: FlaskClient, service: Runtime, world: World, sold: str):
    world.apply(sold, lifecycle.cancel, silently=True)
    sync_subscription(service, sold, patience=5)
    assert open_portal(payer).status_code == 201


def test_a_former_payer_is_not_let_in_while_it_is_not_known_who_pays_now(
    payer: FlaskClient, service: Runtime, world: World, sold: str
):
    world.apply(sold, lifecycle.cancel, silently=True)
    sync_subscription(service, sold, patience=5)
    new = world.open({"product_id": "pdt_team"}, silently=True).subscription_id
    with service.transaction() as session:
        links.link(session, "acme", new, service.catalog, a_cause())
    answer = open_portal(payer)
    assert told(answer) == (409, "no_customer")
    assert "sync the account" in answer.json["detail"]
    sync_subscription(service, new, patience=5)
    assert open_portal(payer).json["customer_id"] == customer_of(world, new)


def test_a_customer_who_never_paid_has_no_portal(
    payer: FlaskClient, service: Runtime, world: World, sold: str
):
    world.apply(sold, lifecycle.fail, silently=True)
    sync_subscription(service, sold, patience=5)
    assert told(open_portal(payer)) == (409, "no_customer")


def test_an_account_for_which_nobody_pays_has_no_portal(payer: FlaskClient, service: Runtime):
    opened(service, "other")
    assert told(open_portal(payer, "other")) == (409, "no_customer")


def test_a_subscription_of_another_account_is_not_named(payer: FlaskClient, service: Runtime, world: World):
    other = sell(world, service, {"adn_seat": 1}, account_id="other")
    assert told(open_portal(payer, subscription_id=other)) == (409, "no_subscription_to_change")


def test_an_unknown_account_is_404(payer: FlaskClient):
    assert told(open_portal(payer, "nobody")) == (404, "account_not_found")


def test_a_customer_that_the_provider_does_not_know_is_409(payer: FlaskClient, world: World, sold: str):
    world.state.remove(sold)
    assert told(open_portal(payer)) == (409, "customer_not_at_provider")


@pytest.mark.parametrize(
    "body", [{"return_url": "javascript:alert(1)"}, {"return_url": ""}, {"subscription_id": ""}, {"x": 1}]
)
def test_a_malformed_request_is_422(payer: FlaskClient, body: dict[str, Any]):
    assert told(open_portal(payer, **body)) == (422, "invalid_request")


@pytest.mark.parametrize("fault", ["api_500_probability", "api_cut_probability", "api_malformed_probability"])
def test_without_an_answer_it_is_503_and_may_be_repeated(payer: FlaskClient, world: World, fault: str):
    world.board.turn({fault: 1.0})
    assert told(open_portal(payer)) == (503, "provider_unavailable")
    world.board.turn({fault: 0.0})
    assert open_portal(payer).status_code == 201


@pytest.mark.parametrize("scope", [Scope.READ, Scope.CLAIM])
def test_it_needs_a_key_for_billing(service: Runtime, open_door: OpenDoor, scope: Scope):
    assert told(open_portal(open_door(service, key=key_with(service, scope)))) == (403, "missing_scope")
