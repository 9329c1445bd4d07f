"""Accounts: created before any purchase, given their subscriptions, listed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from runtime.wiring import Runtime
from tests.factories import a_catalog, a_snapshot
from tests.fakes import FakeProvider
from tests.webhook_app.conftest import OpenDoor, RecordedWakeUps
from tests.webhook_app.setup_helpers import bought, claimed, opened, rows

SOLD_ELSEWHERE = """
[free]
included = { full = 1 }

[contracts.big]
account = "big"
seats = { full = "unlimited", viewer = 3 }
starts = 2020-01-01

[contracts.over]
account = "late"
seats = { full = 9 }
ends = 2020-12-31
"""


@pytest.fixture
def generous(runtime: Runtime) -> Runtime:
    """With a catalogue that gives free seats and knows contracts."""
    return replace(runtime, catalog=a_catalog(SOLD_ELSEWHERE))


def full(client: FlaskClient, account_id: str) -> dict:
    return client.get(f"/v1/accounts/{account_id}/seats").json["seats"]["full"]


# Created.


def test_a_new_account_is_201_and_200_after_that(client: FlaskClient):
    first, second = (client.put("/v1/accounts/acme") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json == first.json


def test_a_new_account_is_shown_whole(client: FlaskClient):
    document = client.put("/v1/accounts/acme").json
    assert document.pop("created_at").endswith("Z")
    assert document == {"account_id": "acme", "status": "ok", "policy": "strict", "version": 1}


def test_creating_again_changes_nothing(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    before = client.get("/v1/accounts/acme/seats").json
    client.put("/v1/accounts/acme")
    after = client.get("/v1/accounts/acme/seats").json
    assert (after["version"], after["seats"]) == (before["version"], before["seats"])


def test_without_free_seats_a_new_account_has_none(client: FlaskClient):
    client.put("/v1/accounts/acme")
    body = {"member_id": "ada", "role": "member"}
    assert client.post("/v1/accounts/acme/claims", json=body).json["code"] == "no_seat_available"


def test_a_new_account_has_the_free_seats_at_once(generous: Runtime, open_door: OpenDoor):
    client = open_door(generous)
    client.put("/v1/accounts/acme")
    assert (full(client, "acme")["included"], full(client, "acme")["available"]) == (1, 1)
    body = {"member_id": "ada", "role": "member"}
    claims = [client.post("/v1/accounts/acme/claims", json={**body, "member_id": who}) for who in "ab"]
    assert [claim.status_code for claim in claims] == [201, 409]


def test_a_new_account_has_its_contracts_seats(generous: Runtime, open_door: OpenDoor):
    client = open_door(generous)
    client.put("/v1/accounts/big")
    seats = client.get("/v1/accounts/big/seats").json["seats"]
    assert [seats["full"][name] for name in ("purchased", "contract", "available")] == ["unlimited"] * 3
    assert (seats["viewer"]["purchased"], seats["viewer"]["contract"]) == (3, 3)


def test_a_contract_that_is_over_gives_nothing_more(generous: Runtime, open_door: OpenDoor):
    client = open_door(generous)
    client.put("/v1/accounts/late")
    assert full(client, "late")["contract"] == 0


@pytest.mark.parametrize("account_id", ["x" * 201, "a%00b", "a%7Fb", "a%C2%85b"])
def test_an_account_that_cannot_be_named_so_is_422(client: FlaskClient, account_id: str):
    answer = client.put(f"/v1/accounts/{account_id}")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, "account_id")


# Linked.


def test_a_link_moves_the_seats_from_one_account_to_the_other(client: FlaskClient, runtime: Runtime):
    bought(runtime, seats=10)
    answer = client.put("/v1/accounts/other/subscriptions/sub_1")
    assert (answer.status_code, answer.json) == (
        200,
        {"account_id": "other", "subscription_id": "sub_1", "changed": True},
    )
    assert (full(client, "other")["purchased"], full(client, "acme")["purchased"]) == (15, 0)
    assert client.get("/v1/subscriptions/sub_1/seats").json["account_id"] == "other"


def test_who_read_just_before_the_move_sees_it_at_once(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    opened(runtime, "other")
    for path in ("/v1/accounts/acme/seats", "/v1/accounts/other/seats", "/v1/subscriptions/sub_1/seats"):
        client.get(path)
    client.put("/v1/accounts/other/subscriptions/sub_1")
    assert (full(client, "other")["purchased"], full(client, "acme")["purchased"]) == (5, 0)
    assert client.get("/v1/subscriptions/sub_1/seats").json["account_id"] == "other"


def test_members_of_the_account_left_behind_stay_over_the_limit(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    bought(runtime, subscription_id="sub_2")
    claimed(runtime, *"abcdefg")
    client.put("/v1/accounts/other/subscriptions/sub_1")
    document = client.get("/v1/accounts/acme/seats").json
    assert (document["status"], document["seats"]["full"]["overage"]) == ("over_limit", 2)


def test_linking_again_says_that_nothing_changed(client: FlaskClient, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    changed = [client.put("/v1/accounts/acme/subscriptions/sub_1").json["changed"] for _ in range(2)]
    assert changed == [True, False]


def test_a_link_under_a_key_tells_the_same_again(client: FlaskClient, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    key = {"Idempotency-Key": "k"}
    told = [client.put("/v1/accounts/acme/subscriptions/sub_1", headers=key).data for _ in range(2)]
    assert told[0] == told[1]


def test_a_subscription_that_is_new_here_is_asked_for(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider, wake_ups: RecordedWakeUps
):
    provider.subscriptions["sub_new"] = a_snapshot("sub_new")
    client.put("/v1/accounts/acme/subscriptions/sub_new")
    assert rows(runtime, "SELECT id FROM subscriptions WHERE hint > synced") == ["sub_new"]
    assert wake_ups.woken == ["sub_new"]


def test_the_link_outlives_what_the_metadata_says(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    provider.subscriptions["sub_1"] = a_snapshot()
    client.put("/v1/accounts/other/subscriptions/sub_1")
    bought(runtime, metadata={"account_id": "acme"})
    assert full(client, "other")["purchased"] == 5
    assert client.get("/v1/accounts/acme/seats").status_code == 404


def test_ids_with_slashes_can_be_linked(client: FlaskClient, provider: FakeProvider):
    provider.subscriptions["sub/1"] = a_snapshot("sub/1")
    answer = client.put("/v1/accounts/a%2Fb/subscriptions/sub%2F1")
    assert (answer.json["account_id"], answer.json["subscription_id"]) == ("a/b", "sub/1")


# Listed.


IDS = ["a", "A", "b c", "b&c=d", "ü", "z/z", "%2F", "+", "👩", "ab"]


def pages_of(client: FlaskClient, limit: int, **asked: str) -> list[list[str]]:
    found: list[list[str]] = []
    question: dict[str, str | int] | None = {"limit": limit, **asked}
    while question is not None:
        document = client.get("/v1/accounts", query_string=question).json
        found.append([account["account_id"] for account in document["accounts"]])
        cursor = document["next_cursor"]
        question = None if cursor is None else {**question, "cursor": cursor}
    return found


@pytest.mark.parametrize("limit", [1, 3, 5, 10, 200])
def test_the_pages_hold_every_account_once(client: FlaskClient, runtime: Runtime, limit: int):
    opened(runtime, *IDS)
    pages = pages_of(client, limit)
    assert sorted(account_id for page in pages for account_id in page) == sorted(IDS)
    assert {len(page) for page in pages[:-1]} <= {limit}


def test_accounts_are_found_by_status(client: FlaskClient, runtime: Runtime):
    opened(runtime, "new")
    bought(runtime, metadata={"account_id": "fine"})
    bought(runtime, subscription_id="sub_2", metadata={"account_id": "asleep"}, status="paused")
    found = {status: pages_of(client, 1, status=status) for status in ("ok", "suspended", "ended")}
    assert found == {"ok": [["fine"], ["new"]], "suspended": [["asleep"]], "ended": [[]]}


@pytest.mark.parametrize("asked", ["status=fine", "limit=0", "limit=201", "cursor=", "cursor=%00", "page=2"])
def test_a_bad_question_is_422(client: FlaskClient, asked: str):
    answer = client.get(f"/v1/accounts?{asked}")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, asked.partition("=")[0])


def test_without_accounts_the_list_is_empty(client: FlaskClient):
    assert client.get("/v1/accounts").json == {"accounts": [], "next_cursor": None}
