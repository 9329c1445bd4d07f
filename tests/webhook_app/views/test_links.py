"""Links: the app says whose a subscription is, takes it back, and deletes accounts that are empty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from domain.ownership import PROOF_KEY, proved_nonce
from domain.provider_errors import KeyRefused, PermanentError, TransientError
from models import installation
from models.api_key import Scope
from runtime.wiring import Runtime
from simulator.world import World
from tests.audit_replay import assert_audit_matches_the_tables
from tests.factories import a_catalog, a_snapshot
from tests.fakes import FakeProvider
from tests.webhook_app.conftest import OpenDoor, RecordedWakeUps
from tests.webhook_app.setup_helpers import bought, claimed, key_with, opened, rows

LINK = "/v1/accounts/acme/subscriptions/sub_1"


@pytest.fixture
def shop(provider: FakeProvider) -> FakeProvider:
    """A provider that has sold sub_1."""
    provider.subscriptions["sub_1"] = a_snapshot(seats=10, metadata=None)
    return provider


# Asked before it is linked.


def test_a_subscription_that_the_provider_does_not_know_is_not_linked(client: FlaskClient, runtime: Runtime):
    answer = client.put("/v1/accounts/acme/subscriptions/sub_typo")
    assert (answer.status_code, answer.json["code"]) == (409, "subscription_not_at_provider")
    assert rows(runtime, "SELECT id FROM subscriptions UNION SELECT id FROM accounts") == []


def test_a_refused_link_is_not_stored_under_the_key(client: FlaskClient, provider: FakeProvider):
    key = {"Idempotency-Key": "k"}
    assert client.put(LINK, headers=key).status_code == 409
    provider.subscriptions["sub_1"] = a_snapshot()
    assert client.put(LINK, headers=key).status_code == 200


def test_one_that_was_seen_before_is_not_asked_for(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime, metadata=None)
    assert client.put(LINK).json["changed"]
    assert provider.retrieved == []


@pytest.mark.parametrize(
    "failing", [TransientError("down"), KeyRefused("no"), PermanentError("no")], ids=lambda one: one.code
)
def test_a_provider_that_does_not_answer_forbids_no_link(
    client: FlaskClient, provider: FakeProvider, wake_ups: RecordedWakeUps, failing: Exception
):
    provider.failing = failing
    assert client.put(LINK).json["changed"]
    assert wake_ups.woken == ["sub_1"]


# Undone.


@pytest.mark.usefixtures("shop")
def test_a_link_is_undone_and_again_changes_nothing(client: FlaskClient, runtime: Runtime):
    bought(runtime, metadata=None, seats=10)
    client.put(LINK)
    answers = [client.delete(LINK) for _ in range(2)]
    assert [(one.status_code, one.json["changed"]) for one in answers] == [(200, True), (200, False)]
    assert client.get("/v1/subscriptions/sub_1/seats").json["account_id"] == "sub_1"
    assert client.get("/v1/accounts/acme/seats").json["subscriptions"] == []


def test_a_name_that_is_not_believed_is_refused(client: FlaskClient, runtime: Runtime):
    bought(runtime, customer_id="cus_acme")
    bought(runtime, subscription_id="sub_2", customer_id="cus_other")
    (found,) = client.get("/v1/drift").json["findings"]
    assert (found["subject"], found["kind"], found["state"]) == ("sub_2", "unproved_account", "held")
    client.delete("/v1/accounts/acme/subscriptions/sub_2")
    assert client.get("/v1/drift").json["findings"] == []


def test_without_a_link_there_is_nothing_to_undo(client: FlaskClient, runtime: Runtime):
    bought(runtime, metadata=None)
    unknown = client.delete("/v1/accounts/acme/subscriptions/sub_who")
    own = client.delete("/v1/accounts/sub_1/subscriptions/sub_1")
    assert (unknown.status_code, unknown.json["code"]) == (404, "subscription_not_found")
    assert (own.status_code, own.json["code"]) == (409, "own_account")


# Deleted.


def test_an_empty_account_is_deleted_and_its_audit_kept(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    answer = client.delete("/v1/accounts/acme")
    assert (answer.status_code, answer.json) == (200, {"account_id": "acme", "deleted": True})
    for path in ("/v1/accounts/acme/seats", "/v1/accounts/acme/members", "/v1/accounts/acme/policy"):
        assert client.get(path).status_code == 404
    assert client.get("/v1/accounts").json["accounts"] == []
    reasons = [row["reason"] for row in client.get("/v1/accounts/acme/audit").json["rows"]]
    assert reasons == ["a test", "deleted by the app"]
    assert client.delete("/v1/accounts/acme").status_code == 404


def test_created_again_it_goes_on_with_its_audit(client: FlaskClient, runtime: Runtime):
    versions = []
    for _ in range(2):
        assert client.put("/v1/accounts/acme").status_code == 201
        client.put("/v1/accounts/acme/policy", json={"policy": "soft"})
        versions.append(client.get("/v1/accounts/acme/seats").json["version"])
        client.delete("/v1/accounts/acme")
    client.put("/v1/accounts/acme")
    document = client.get("/v1/accounts/acme/seats").json
    assert versions[0] < versions[1] < document["version"]
    assert document["policy"] == "strict"
    with runtime.sessions() as session:
        assert_audit_matches_the_tables(session)


IN_USE: dict[str, Callable[[Runtime], object]] = {
    "subscriptions": lambda runtime: bought(runtime, status="cancelled"),
    "members": lambda runtime: (opened(runtime, "acme"), claimed(runtime, "ada", role="client")),
}


@pytest.mark.parametrize("what", IN_USE)
def test_an_account_in_use_is_not_deleted(client: FlaskClient, runtime: Runtime, what: str):
    IN_USE[what](runtime)
    answer = client.delete("/v1/accounts/acme")
    assert (answer.status_code, answer.json["code"]) == (409, "account_not_empty")
    assert answer.json["has"] == [what]


def test_an_account_with_a_contract_is_not_deleted(open_door: OpenDoor, runtime: Runtime):
    sold = a_catalog('[contracts.big]\naccount = "acme"\nseats = { full = 3 }')
    client = open_door(replace(runtime, catalog=sold))
    client.put("/v1/accounts/acme")
    assert client.delete("/v1/accounts/acme").json["has"] == ["contracts"]


def test_once_emptied_an_account_can_be_deleted(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    client.delete("/v1/accounts/acme/members/ada")
    client.delete(LINK)
    assert client.delete("/v1/accounts/acme").status_code == 200


@pytest.mark.parametrize("scope", [Scope.READ, Scope.CLAIM, Scope.BILLING])
def test_deleting_an_account_takes_the_admin_scope(open_door: OpenDoor, runtime: Runtime, scope: Scope):
    opened(runtime, "acme")
    client = open_door(key=key_with(runtime, scope))
    assert client.delete("/v1/accounts/acme").status_code == 403


# Findings that a person closes.


def held(runtime: Runtime) -> int:
    bought(runtime, product_id="pdt_who")
    return rows(runtime, "SELECT id FROM drift_findings")[0]


def test_a_held_finding_is_dismissed_with_a_reason(client: FlaskClient, runtime: Runtime):
    number = held(runtime)
    answer = client.post(f"/v1/drift/{number}/dismiss", json={"reason": "a test product"})
    assert (answer.status_code, answer.json["state"]) == (200, "dismissed")
    assert answer.json["closed_because"] == "a test product"
    assert client.get("/v1/drift").json["findings"] == []
    assert client.get("/v1/drift?state=dismissed").json["findings"] == [answer.json]


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": 1}, {"reason": "x", "y": 1}]
)
def test_a_reason_has_to_be_given(client: FlaskClient, runtime: Runtime, body: dict):
    assert client.post(f"/v1/drift/{held(runtime)}/dismiss", json=body).status_code == 422


def test_a_finding_that_is_not_held_cannot_be_dismissed(client: FlaskClient, runtime: Runtime):
    number = held(runtime)
    bought(runtime)
    answer = client.post(f"/v1/drift/{number}/dismiss", json={"reason": "x"})
    assert (answer.status_code, answer.json["code"]) == (409, "finding_not_held")
    assert client.post("/v1/drift/99/dismiss", json={"reason": "x"}).json["code"] == "finding_not_found"


# What our checkout puts into the metadata.


def test_a_checkout_proves_the_account_that_it_names(
    open_door: OpenDoor, service: Runtime, world: World, monkeypatch: pytest.MonkeyPatch
):
    seen: dict[str, str] = {}
    ask = type(service.provider).open_checkout

    def watch(self, cart, buyer, *, metadata, return_url):
        seen.update(metadata)
        return ask(self, cart, buyer, metadata=metadata, return_url=return_url)

    monkeypatch.setattr(type(service.provider), "open_checkout", watch)
    client = open_door(service)
    client.put("/v1/accounts/acme")
    answer = client.post("/v1/accounts/acme/checkout", json={"product_id": "pdt_team", "seats": {"full": 6}})
    assert answer.status_code == 201, answer.json
    with service.sessions() as session:
        secret = installation.checkout_secret(session)
    assert seen["account_id"] == "acme"
    assert proved_nonce(secret, "acme", seen[PROOF_KEY]) is not None
    assert proved_nonce(secret, "other", seen[PROOF_KEY]) is None
