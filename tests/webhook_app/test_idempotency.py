"""Answers kept under a key: when they are repeated, and when the call is carried out again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from runtime.wiring import Runtime
from tests.webhook_app.setup_helpers import bought, claimed, opened, rows

CLAIMS = "/v1/accounts/acme/claims"
BATCH = f"{CLAIMS}/batch"
ADA = "/v1/accounts/acme/members/ada"
CLAIM = {"member_id": "ada", "role": "member", "email": "ada@example.com"}
UNDER_KEY = {"Idempotency-Key": "k"}


def send(client: FlaskClient, method: str, path: str, body: object) -> TestResponse:
    return client.open(path, method=method, json=body, headers=UNDER_KEY)


def batch_of(mode: str) -> dict[str, Any]:
    return {"mode": mode, "claims": [CLAIM, {"member_id": "bob", "role": "member"}]}


GIVES_A_SEAT = {
    "claim": ("POST", CLAIMS, CLAIM),
    "invitation": ("POST", CLAIMS, {**CLAIM, "hold": True}),
    "batch of each": ("POST", BATCH, batch_of("each")),
    "batch of all": ("POST", BATCH, batch_of("all")),
}


@pytest.fixture(params=GIVES_A_SEAT.values(), ids=GIVES_A_SEAT)
def call(request: pytest.FixtureRequest) -> tuple[str, str, Any]:
    """A call that gives Ada a seat."""
    return request.param


def test_a_repeated_answer_is_marked(client: FlaskClient, runtime: Runtime, call):
    bought(runtime)
    first, second = (send(client, *call) for _ in range(2))
    assert (second.status_code, second.json) == (first.status_code, first.json)
    marks = [answer.headers.get("Idempotency-Replayed") for answer in (first, second)]
    assert marks == [None, "true"]


def test_a_repeated_refusal_is_marked(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    answers = [send(client, "POST", CLAIMS, CLAIM) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert answers[1].headers["Idempotency-Replayed"] == "true"


def test_after_a_release_the_same_key_gives_a_seat_again(client: FlaskClient, runtime: Runtime, call):
    bought(runtime)
    send(client, *call)
    client.delete(ADA)
    again = send(client, *call)
    assert again.status_code < 300
    assert "Idempotency-Replayed" not in again.headers
    assert client.get(ADA).json["occupies_seat"] is True


def test_after_a_release_into_a_full_account_the_same_key_is_refused(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    send(client, "POST", CLAIMS, CLAIM)
    client.delete(ADA)
    claimed(runtime, *"abcde")
    assert send(client, "POST", CLAIMS, CLAIM).json["code"] == "no_seat_available"


def test_after_a_release_and_a_claim_the_first_answer_is_repeated(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    send(client, "POST", CLAIMS, CLAIM)
    client.delete(ADA)
    client.post(CLAIMS, json=CLAIM)
    assert send(client, "POST", CLAIMS, CLAIM).status_code == 201
    assert rows(runtime, "SELECT count(*) FROM assignments WHERE state = 'active'") == [1]


@pytest.mark.parametrize("change", [{"role": "admin"}, {"name": "Ada"}], ids=str)
def test_after_a_release_a_change_under_the_same_key_is_404(
    client: FlaskClient, runtime: Runtime, change: dict[str, str]
):
    bought(runtime)
    claimed(runtime, "ada")
    assert send(client, "PATCH", ADA, change).status_code == 200
    client.delete(ADA)
    assert send(client, "PATCH", ADA, change).json["code"] == "member_not_found"


SPELLINGS = [
    b'{"member_id":"ada","role":"member","email":"ada@example.com"}',
    b'{ "email": "ada@example.com",\n\t"role" : "member", "member_id": "ada" }\n',
    b'{"member_id": "\\u0061da", "role": "member", "email": "ada@example.com"}',
]


@pytest.mark.parametrize("body", SPELLINGS)
def test_other_blanks_and_another_order_are_the_same_body(client: FlaskClient, runtime: Runtime, body: bytes):
    bought(runtime)
    first = send(client, "POST", CLAIMS, CLAIM)
    again = client.post(CLAIMS, data=body, content_type="application/json", headers=UNDER_KEY)
    assert (again.status_code, again.json) == (201, first.json)


@pytest.mark.parametrize(
    "more", [{"hold": True}, {"hold": False}, {"protected": True}, {"email": "a@b"}], ids=str
)
def test_other_values_are_another_body(client: FlaskClient, runtime: Runtime, more: dict[str, Any]):
    bought(runtime)
    send(client, "POST", CLAIMS, CLAIM)
    again = send(client, "POST", CLAIMS, {**CLAIM, **more})
    assert (again.status_code, again.json["code"]) == (422, "idempotency_key_reused")


def test_the_order_of_a_list_matters(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    body = batch_of("each")
    send(client, "POST", BATCH, body)
    again = send(client, "POST", BATCH, {**body, "claims": body["claims"][::-1]})
    assert again.json["code"] == "idempotency_key_reused"


def test_a_call_without_a_body_has_a_key_as_well(client: FlaskClient):
    answers = [client.put("/v1/accounts/acme", headers=UNDER_KEY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["Idempotency-Replayed"] == "true"


def test_after_a_new_claim_the_same_key_releases_again(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    for _ in range(2):
        answer = client.delete("/v1/accounts/acme/members/ada", headers=UNDER_KEY)
        assert (answer.json["released"], "Idempotency-Replayed" in answer.headers) == (True, False)
        claimed(runtime, "ada")


def test_a_release_is_repeated_while_the_member_is_gone(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answers = [client.delete("/v1/accounts/acme/members/ada", headers=UNDER_KEY) for _ in range(2)]
    assert [answer.json["released"] for answer in answers] == [True, True]
    assert answers[1].headers["Idempotency-Replayed"] == "true"


def test_an_account_that_was_deleted_is_created_again_under_the_same_key(client: FlaskClient):
    for _ in range(2):
        assert client.put("/v1/accounts/acme", headers=UNDER_KEY).status_code == 201
        assert client.get("/v1/accounts/acme/seats").status_code == 200
        assert client.delete("/v1/accounts/acme", headers=UNDER_KEY).json["deleted"] is True
        assert client.get("/v1/accounts/acme/seats").status_code == 404


def test_a_refusal_is_repeated_under_its_key_though_it_would_be_granted_by_now(client: FlaskClient):
    client.put("/v1/accounts/acme")
    client.post(CLAIMS, json={"member_id": "ada", "role": "client"})
    refused = client.delete("/v1/accounts/acme", headers=UNDER_KEY)
    client.delete(ADA)
    again = client.delete("/v1/accounts/acme", headers=UNDER_KEY)
    assert (refused.status_code, again.status_code, again.json) == (409, 409, refused.json)
    assert client.delete("/v1/accounts/acme").json["deleted"] is True


def test_the_header_is_described(client: FlaskClient):
    document = json.loads(client.get("/openapi.json").data)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            takes_key = any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", []))
            if path.startswith("/v1/") and method != "get" and takes_key:
                assert all(
                    "Idempotency-Replayed" in one["headers"] for one in operation["responses"].values()
                )
