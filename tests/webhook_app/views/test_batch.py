"""Claims by the hundred: each for itself, or all or none."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from runtime.wiring import Runtime
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.webhook_app.setup_helpers import bought, claimed, rows

BATCH = "/v1/accounts/acme/claims/batch"


def people(*member_ids: str, role: str = "member") -> list[dict[str, Any]]:
    return [{"member_id": member_id, "role": role} for member_id in member_ids]


def batch(client: FlaskClient, mode: str, claims: list[dict[str, Any]], **more: Any) -> TestResponse:
    return client.post(BATCH, json={"mode": mode, "claims": claims}, **more)


def used(client: FlaskClient) -> int:
    return client.get("/v1/accounts/acme/seats").json["seats"]["full"]["used"]


@pytest.fixture(autouse=True)
def books_stay_right(runtime: Runtime):
    yield
    with runtime.sessions() as session:
        assert_audit_matches_the_tables(session)
        assert_balances_count_the_assignments(session)


@pytest.mark.parametrize("mode", ["all", "each"])
def test_what_fits_is_granted_whole(client: FlaskClient, runtime: Runtime, mode: str):
    bought(runtime)
    answer = batch(client, mode, people(*"abcde"))
    assert (answer.status_code, answer.json["granted"], answer.json["refused"]) == (200, 5, 0)
    assert [one["status"] for one in answer.json["results"]] == [201] * 5
    assert used(client) == 5


def test_each_grants_what_fits_and_tells_the_rest_why(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answer = batch(client, "each", people(*"abcdefg"))
    assert (answer.status_code, answer.json["granted"], answer.json["refused"]) == (200, 5, 2)
    refused = answer.json["results"][-1]
    assert (refused["member_id"], refused["status"]) == ("g", 409)
    assert (refused["problem"]["code"], refused["assignment"]) == ("no_seat_available", None)
    assert used(client) == 5


def test_all_is_nothing_when_one_is_refused(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    before = used(client)
    answer = batch(client, "all", people(*"abcdef"))
    assert (answer.status_code, answer.json["code"], answer.json["granted"]) == (409, "batch_refused", 0)
    assert [one["status"] for one in answer.json["results"]] == [201] * 5 + [409]
    assert (used(client), before) == (0, 0)
    assert rows(runtime, "SELECT count(*) FROM assignments") == [0]


def test_after_all_came_to_nothing_readers_still_see_every_later_change(
    client: FlaskClient, runtime: Runtime
):
    """What was rolled back left no mark in the cache that later versions would have to overtake."""
    bought(runtime)
    batch(client, "all", people(*"abcdef"))
    claimed(runtime, "ada")
    assert used(client) == 1


def test_who_sits_already_counts_once(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "a")
    answer = batch(client, "all", people("a", "b", "b"))
    assert [one["status"] for one in answer.json["results"]] == [200, 201, 200]
    assert used(client) == 2


def test_an_unknown_role_stops_only_itself(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answer = batch(client, "each", [*people("a", role="wizard"), *people("b")])
    assert [one["status"] for one in answer.json["results"]] == [422, 201]


def test_the_same_batch_under_one_key_is_done_once(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    headers = {"Idempotency-Key": "one"}
    first = batch(client, "each", people("a", "b"), headers=headers)
    assert batch(client, "each", people("a", "b"), headers=headers).json == first.json
    assert used(client) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "some", "claims": people("a")},
        {"mode": "all", "claims": []},
        {"mode": "all"},
        {"claims": people("a")},
        {"mode": "all", "claims": [{"member_id": "a"}]},
        {"mode": "all", "claims": people(*map(str, range(1001)))},
        {"mode": "each", "claims": people("a"), "hold": True},
    ],
    ids=["unknown mode", "no claims", "claims missing", "mode missing", "no role", "too many", "odd field"],
)
def test_nonsense_is_422_and_seats_nobody(client: FlaskClient, runtime: Runtime, body: dict[str, Any]):
    bought(runtime)
    assert client.post(BATCH, json=body).status_code == 422
    assert used(client) == 0


def test_an_account_nobody_knows_is_404(client: FlaskClient):
    assert batch(client, "each", people("a")).json["code"] == "account_not_found"


def test_all_is_nothing_also_where_an_invitation_was_made_and_taken_up_in_it(
    client: FlaskClient, runtime: Runtime
):
    bought(runtime)
    invited = {"member_id": "a", "role": "member", "hold": True}
    answer = batch(client, "all", [invited, *people(*"abcdefg")])
    assert (answer.status_code, answer.json["code"]) == (409, "batch_refused")
    assert used(client) == 0
