"""One member: read with a validator, found by id and by address, given another id, followed by another."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.api_key import Scope
from runtime.wiring import Runtime
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, claimed, key_with, opened, rows

MEMBERS = "/v1/accounts/acme/members"
ADA = f"{MEMBERS}/ada"


def found(client: FlaskClient, **asked: str) -> list[str]:
    document = client.get(MEMBERS, query_string=asked).json
    return [member["member_id"] for member in document["members"]]


def rename(client: FlaskClient, member_id: str, new_id: object, **more: Any) -> TestResponse:
    return client.post(f"{MEMBERS}/{member_id}/rename", json={"member_id": new_id}, **more)


def reassign(client: FlaskClient, member_id: str, next_id: str, **more: Any) -> TestResponse:
    return client.post(
        f"{MEMBERS}/{member_id}/reassign", json={"member_id": next_id, "role": "member"}, **more
    )


# Read.


@pytest.mark.parametrize(
    ("wish", "occupies"), [({}, True), ({"hold": True}, True), ({"role": "client"}, False)], ids=str
)
def test_a_member_is_read_as_in_the_list(
    client: FlaskClient, runtime: Runtime, wish: dict[str, Any], occupies: bool
):
    bought(runtime)
    claimed(runtime, "ada", **wish)
    answer = client.get(ADA)
    assert (answer.status_code, answer.json["occupies_seat"]) == (200, occupies)
    assert answer.json == client.get(MEMBERS).json["members"][0]


def test_an_unchanged_member_is_304(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    etag = client.get(ADA).headers["ETag"]
    again = client.get(ADA, headers={"If-None-Match": etag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)


@pytest.mark.parametrize(
    "change",
    [
        {"role": "admin"},
        {"state": "suspended"},
        {"protected": True},
        {"name": "Ada"},
        {"email": "ada@example.com"},
        {"last_active_at": "2026-11-20T09:00:00Z"},
    ],
    ids=str,
)
def test_whatever_is_shown_changes_the_validator(
    client: FlaskClient, runtime: Runtime, change: dict[str, Any]
):
    bought(runtime)
    claimed(runtime, "ada")
    etag = client.get(ADA).headers["ETag"]
    client.patch(ADA, json=change)
    again = client.get(ADA, headers={"If-None-Match": etag})
    assert (again.status_code, again.headers["ETag"] != etag) == (200, True)


def test_equal_members_of_two_accounts_have_two_validators(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme", "other")
    with runtime.transaction():
        for account_id in ("acme", "other"):
            claimed(runtime, "ada", account_id=account_id, role="client")
    one, other = (client.get(f"/v1/accounts/{account_id}/members/ada") for account_id in ("acme", "other"))
    assert one.headers["ETag"] != other.headers["ETag"]


def test_a_released_member_is_404_with_the_time(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    client.delete(ADA)
    answer = client.get(ADA)
    assert (answer.status_code, answer.json["code"]) == (404, "member_not_found")
    assert answer.json["released_at"].endswith("Z")


def test_a_member_who_came_back_is_the_one_who_is_there(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    client.delete(ADA)
    claimed(runtime, "ada", role="client")
    assert client.get(ADA).json["role"] == "client"


def test_a_member_never_seen_is_404(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answer = client.get(ADA)
    assert (answer.status_code, answer.json["code"]) == (404, "member_not_found")
    assert "released_at" not in answer.json


def test_a_member_of_an_unknown_account_is_404(client: FlaskClient):
    assert client.get(ADA).json["code"] == "account_not_found"


def test_it_takes_the_scope_read(open_door: OpenDoor, runtime: Runtime):
    bought(runtime)
    assert open_door(key=key_with(runtime, Scope.CLAIM)).get(ADA).json["needed_scope"] == "read"


# Found.


@pytest.mark.parametrize(
    ("asked", "members"),
    [
        ({"member_id": "ada"}, ["ada"]),
        ({"member_id": "Ada"}, []),
        ({"email": "ADA@example.com"}, ["ada"]),
        ({"email": "ada@xn--bcher-kva.example"}, ["ida"]),
        ({"email": "ada@example.com", "state": "released"}, ["before"]),
        ({"member_id": "before", "state": "released"}, ["before"]),
        ({"member_id": "before"}, []),
        ({"member_id": "ada", "email": "ada@bücher.example"}, []),
        ({"email": "nobody@example.com"}, []),
    ],
    ids=str,
)
def test_members_are_found_by_id_and_by_address(
    client: FlaskClient, runtime: Runtime, asked: dict[str, str], members: list[str]
):
    bought(runtime)
    claimed(runtime, "before", email="Ada@example.com")
    client.delete(f"{MEMBERS}/before")
    claimed(runtime, "ada", email="Ada@Example.com")
    claimed(runtime, "ida", email="ada@Bücher.example")
    assert found(client, **asked) == members


@pytest.mark.parametrize(
    "asked", [{"email": "ada"}, {"email": "ada\u200b@example.com"}, {"member_id": ""}], ids=ascii
)
def test_an_unusable_filter_is_422(client: FlaskClient, runtime: Runtime, asked: dict[str, str]):
    bought(runtime)
    answer = client.get(MEMBERS, query_string=asked)
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, next(iter(asked)))


# Another id.


def test_a_renamed_member_gives_the_seat_back_under_the_new_id(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answer = rename(client, "ada", "user/77")
    assert (answer.status_code, answer.json["member_id"]) == (200, "user/77")
    assert client.delete(ADA).json["released"] is False
    assert client.delete(f"{MEMBERS}/user%2F77").json["released"] is True


def test_renaming_is_audited_once(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    rename(client, "ada", "user-77")
    told = "SELECT subject_before->>'member_id' || ' ' || member_id FROM audit WHERE source = 'rename'"
    assert rows(runtime, told) == ["ada user-77"]


def test_an_id_that_is_taken_is_409(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada", "ida")
    answer = rename(client, "ada", "ida")
    assert (answer.status_code, answer.json["code"], answer.json["member_id"]) == (
        409,
        "member_id_taken",
        "ida",
    )


@pytest.mark.parametrize("new_id", ["", "..", " ida", "i\0", 7, None, "x" * 201])
def test_an_id_that_no_url_can_name_is_422(client: FlaskClient, runtime: Runtime, new_id: object):
    bought(runtime)
    claimed(runtime, "ada")
    assert rename(client, "ada", new_id).status_code == 422


def test_renaming_nobody_is_404(client: FlaskClient, runtime: Runtime):
    assert rename(client, "ada", "ida").json["code"] == "account_not_found"
    bought(runtime)
    assert rename(client, "ada", "ida").json["code"] == "member_not_found"


def test_renaming_under_one_key_is_done_once(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answers = [rename(client, "ada", "ida", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert found(client) == ["ida"]


# A seat for the next member.


def test_the_next_member_is_answered_with_the_seat(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answer = reassign(client, "ada", "ida")
    assert (answer.status_code, answer.json) == (200, client.get(f"{MEMBERS}/ida").json)


def test_whoever_gave_the_seat_is_listed_as_released(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    reassign(client, "ada", "ida")
    assert (found(client), found(client, state="released")) == (["ida"], ["ada"])


def test_reassigning_under_one_key_is_done_once(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answers = [reassign(client, "ada", "ida", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert (answers[0].json, found(client)) == (answers[1].json, ["ida"])


def test_reassigning_to_a_member_with_a_seat_is_409(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada", "ida")
    answer = reassign(client, "ada", "ida")
    assert (answer.status_code, answer.json["code"]) == (409, "wrong_state")


def test_reassigning_the_seat_of_nobody_is_404(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    assert reassign(client, "ada", "ida").json["code"] == "member_not_found"


def test_reassigning_takes_the_scope_claim(open_door: OpenDoor, runtime: Runtime):
    bought(runtime)
    client = open_door(key=key_with(runtime, Scope.READ))
    assert reassign(client, "ada", "ida").json["needed_scope"] == "claim"
