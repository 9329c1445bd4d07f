"""Members: claims with every way they end, releases, lists, and the same wish sent twice."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from domain.snapshot import AddonQuantity
from models.api_key import Scope
from runtime.wiring import Runtime
from tests.webhook_app.conftest import OpenDoor, client_with
from tests.webhook_app.setup_helpers import bought, claimed, key_with, opened, rows, run_sql

pytestmark = pytest.mark.long(seconds=12)

CLAIMS = "/v1/accounts/acme/claims"
MEMBERS = "/v1/accounts/acme/members"
LATER = "UPDATE assignments SET expires_at = now() - interval '1 second' WHERE state = 'held'"


def claim(client: FlaskClient, member_id: str = "ada", role: str = "member", **further: Any) -> TestResponse:
    headers = further.pop("headers", {})
    return client.post(CLAIMS, json={"member_id": member_id, "role": role, **further}, headers=headers)


def seats(client: FlaskClient, seat_type: str = "full") -> dict[str, Any]:
    return client.get("/v1/accounts/acme/seats").json["seats"][seat_type]


# Granted.


def test_a_claim_is_201_and_the_assignment(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answer = claim(client, email="Ada@Example.com", protected=True)
    document = answer.json
    assert document.pop("claimed_at").endswith("Z")
    assert answer.status_code == 201
    assert document == {
        "member_id": "ada",
        "role": "member",
        "seat_type": "full",
        "state": "active",
        "occupies_seat": True,
        "awaits_purchase": False,
        "reason": "holds a full seat",
        "name": None,
        "last_active_at": None,
        "email": "Ada@Example.com",
        "protected": True,
        "expires_at": None,
        "released_at": None,
    }


def test_the_next_reader_sees_the_claim(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    assert seats(client)["available"] == 5
    claim(client)
    assert (seats(client)["active"], seats(client)["available"]) == (1, 4)


def test_who_is_seated_already_is_200_with_the_same_assignment(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    first, second = claim(client), claim(client)
    assert (second.status_code, second.json) == (200, first.json)
    assert seats(client)["used"] == 1


@pytest.mark.parametrize("email", ["ada@example.com", " ada@example.com\t", "ADA@Example.COM"])
def test_the_same_e_mail_under_another_id_is_409_with_the_id_that_has_it(
    client: FlaskClient, runtime: Runtime, email: str
):
    bought(runtime)
    claim(client, "ada", email="Ada@example.com")
    again = claim(client, "ada-of-the-other-team", email=email)
    assert (again.status_code, again.json["code"], again.json["member_id"]) == (409, "email_taken", "ada")
    assert seats(client)["used"] == 1


def test_a_free_role_is_seated_without_a_seat(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    answer = claim(client, role="client")
    assert (answer.status_code, answer.json["seat_type"], answer.json["occupies_seat"]) == (201, None, False)
    assert answer.json["reason"] == "the role client is free"


def test_a_free_role_is_welcome_while_claims_are_blocked(client: FlaskClient, runtime: Runtime):
    bought(runtime, status="paused")
    assert claim(client, role="client").status_code == 201


# Held.


def test_a_hold_takes_a_seat_until_it_expires(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    document = claim(client, hold=True).json
    assert (document["state"], document["occupies_seat"]) == ("held", True)
    days = "SELECT extract(day FROM expires_at - claimed_at)::int FROM assignments"
    assert rows(runtime, days) == [7]
    assert (seats(client)["held"], seats(client)["available"]) == (1, 4)


def test_claiming_a_held_seat_confirms_it_on_the_same_row(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    held = claim(client, hold=True)
    confirmed = claim(client)
    assert (held.status_code, confirmed.status_code) == (201, 200)
    assert (confirmed.json["state"], confirmed.json["expires_at"]) == ("active", None)
    assert rows(runtime, "SELECT state FROM assignments") == ["active"]
    assert (seats(client)["held"], seats(client)["active"]) == (0, 1)


def test_an_invitation_by_e_mail_is_confirmed_under_the_members_own_id(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claim(client, "invitation-7", email="ada@example.com", hold=True)
    confirmed = claim(client, "ada", email="ADA@example.com")
    assert (confirmed.status_code, confirmed.json["member_id"]) == (200, "ada")
    assert seats(client)["used"] == 1


def test_a_hold_that_is_over_makes_room_for_the_next(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "a", "b", "c", "d")
    claim(client, "e", hold=True)
    assert claim(client, "f").status_code == 409
    run_sql(runtime, LATER)
    assert claim(client, "f").status_code == 201
    assert (seats(client)["active"], seats(client)["held"]) == (5, 0)


# Refused.


def test_without_a_seat_409_with_the_numbers(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "a", "b", "c", "d", "e")
    answer = claim(client)
    assert (answer.status_code, answer.json["code"]) == (409, "no_seat_available")
    numbers = {"seat_type": "full", "purchased": 5, "used": 5, "available": 0, "overage": 0}
    assert {name: answer.json[name] for name in numbers} == numbers
    assert answer.json["detail"]


def test_seats_of_another_type_do_not_help(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answer = claim(client, role="viewer")
    assert (answer.json["code"], answer.json["seat_type"]) == ("no_seat_available", "viewer")


@pytest.mark.parametrize(("status", "shown"), [("paused", "suspended"), ("cancelled", "ended")])
def test_while_claims_are_blocked_409_says_why(
    client: FlaskClient, runtime: Runtime, status: str, shown: str
):
    bought(runtime)
    bought(runtime, status=status)
    answer = claim(client)
    assert (answer.status_code, answer.json["code"], answer.json["status"]) == (409, "claims_blocked", 409)
    assert client.get("/v1/accounts/acme/seats").json["status"] == shown
    assert shown in answer.json["detail"]


def test_in_an_account_nobody_knows_404(client: FlaskClient):
    answer = claim(client)
    assert (answer.status_code, answer.json["code"], answer.json["account_id"]) == (
        404,
        "account_not_found",
        "acme",
    )


def test_a_role_nobody_knows_422_names_those_known(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answer = claim(client, role="wizard")
    assert (answer.status_code, answer.json["code"]) == (422, "unknown_role")
    assert answer.json["known_roles"] == ["admin", "client", "member", "viewer"]


def test_a_refusal_leaves_nothing_behind(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "a", "b", "c", "d", "e")
    before = client.get("/v1/accounts/acme/seats").json["version"]
    claim(client)
    assert client.get("/v1/accounts/acme/seats").json["version"] == before
    assert len(rows(runtime, "SELECT id FROM assignments")) == 5


# Malformed.

GOOD = {"member_id": "ada", "role": "member"}
BAD_IDS = {
    "missing": None,
    "empty": "",
    "a number": 7,
    "a boolean": True,
    "a list": ["ada"],
    "an object": {"id": "ada"},
    "too long": "x" * 201,
    "with NUL": "a\0b",
    "with a line feed": "a\nb",
    "with DEL": "a\x7fb",
    "with a C1 control character": "a\x85b",
}
BAD_EMAILS = [
    "a@example.com\u200b",
    "a@\ufeffb",
    "a\u3164@b",
    "a@ü..de",
    "",
    "ada",
    "ada@",
    "@example.com",
    "a b@example.com",
    "a@b@c",
    "a@b\0",
    "x" * 200 + "@b",
    7,
]


@pytest.mark.parametrize("field", ["member_id", "role"])
@pytest.mark.parametrize("value", BAD_IDS.values(), ids=BAD_IDS)
def test_a_bad_id_is_422_and_names_the_field(client: FlaskClient, field: str, value: object):
    body = {**GOOD, field: value} if value is not None else {k: v for k, v in GOOD.items() if k != field}
    answer = client.post(CLAIMS, json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
    assert [error["where"] for error in answer.json["errors"]] == [field]


@pytest.mark.parametrize("email", BAD_EMAILS)
def test_a_bad_e_mail_is_422(client: FlaskClient, email: object):
    answer = client.post(CLAIMS, json={**GOOD, "email": email})
    assert (answer.status_code, [error["where"] for error in answer.json["errors"]]) == (422, ["email"])


@pytest.mark.parametrize("field", ["hold", "protected"])
@pytest.mark.parametrize("value", ["yes", "false", 1, 0, None, []])
def test_only_true_and_false_are_booleans(client: FlaskClient, field: str, value: object):
    assert client.post(CLAIMS, json={**GOOD, field: value}).status_code == 422


def test_a_field_nobody_knows_is_422(client: FlaskClient):
    answer = client.post(CLAIMS, json={**GOOD, "seat_type": "full"})
    assert [error["where"] for error in answer.json["errors"]] == ["seat_type"]


NO_CLAIM = {
    "a list": b"[]",
    "null": b"null",
    "a string": b'"ada"',
    "a string that holds JSON": b'"{\\"member_id\\": \\"ada\\", \\"role\\": \\"member\\"}"',
}
UNREADABLE = {
    "empty": b"",
    "not JSON": b"member_id=ada&role=member",
    "not UTF-8": b'{"member_id": "\xff", "role": "member"}',
    "UTF-16": '{"member_id": "ada", "role": "member"}'.encode("utf-16"),
    "a lone surrogate": b'{"member_id": "\\ud800", "role": "member"}',
    "a key that is a lone surrogate": b'{"member_id": "ada", "role": "member", "\\udfff": 1}',
    "NaN": b'{"member_id": NaN, "role": "member"}',
    "a number of 5000 digits": b'{"member_id": ' + b"9" * 5_000 + b', "role": "member"}',
    "lists 100 000 deep": b"[" * 100_000,
    "objects 50 000 deep": b'{"member_id":' * 50_000,
    "nested a thousand deep": b'{"member_id": ' + b"[" * 1_000 + b"]" * 1_000 + b', "role": "member"}',
    "a name twice": b'{"member_id": "ada", "role": "member", "role": "client"}',
    "a name twice, escaped": b'{"member_id": "ada", "role": "member", "\\u0072ole": "client"}',
    "a name twice, deep inside": b'{"member_id": "ada", "role": "member", "x": [{"a": 1, "a": 1}]}',
}


@pytest.mark.parametrize("body", NO_CLAIM.values(), ids=NO_CLAIM)
def test_json_that_is_no_claim_is_422(client: FlaskClient, body: bytes):
    answer = client.post(CLAIMS, data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
    assert answer.json["detail"] == "body: must be an object"


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_body_that_is_no_json_is_400(client: FlaskClient, body: bytes):
    answer = client.post(CLAIMS, data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_called_json_is_415_and_says_so(client: FlaskClient, content_type: str):
    answer = client.post(CLAIMS, data=b'{"member_id": "ada", "role": "client"}', content_type=content_type)
    assert (answer.status_code, answer.json["code"], answer.json["detail"]) == (
        415,
        "unsupported_media_type",
        "Send the body as JSON, with Content-Type: application/json.",
    )


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
def test_an_empty_body_is_said_to_be_empty(client: FlaskClient, body: bytes):
    answer = client.post(CLAIMS, data=body, content_type="application/json")
    assert (answer.status_code, answer.json["detail"]) == (400, "The body is empty. Send a JSON object.")


def test_json_that_breaks_says_where(client: FlaskClient):
    answer = client.post(CLAIMS, data=b'{\n"member_id": ada}', content_type="application/json")
    assert "(line 2, column 14)" in answer.json["detail"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "nonsense"])
def test_a_packed_body_is_415(client: FlaskClient, coding: str):
    answer = client.post(CLAIMS, json={**GOOD}, headers={"Content-Encoding": coding})
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")


def test_a_body_over_one_mebibyte_is_413(client: FlaskClient):
    assert claim(client, "x" * 2**20).status_code == 413


def test_a_thousand_faults_make_a_short_answer(client: FlaskClient):
    answer = client.post(CLAIMS, json={**GOOD, **{f"{number}" * 200: 1 for number in range(1_000)}})
    assert (answer.status_code, len(answer.json["errors"])) == (422, 10)
    assert len(answer.data) < 10_000


def test_what_was_sent_is_not_sent_back(client: FlaskClient):
    assert b"ada(at)" not in client.post(CLAIMS, json={**GOOD, "email": "ada(at)example.com"}).data


WORDS = st.sampled_from(["ada", "bob", "member", "client", "wizard", "a@b", " A@B ", "", "\0", "x" * 201])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = dict.fromkeys(["member_id", "role", "email", "hold", "protected", "x"], ANY)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=st.fixed_dictionaries({}, optional=FIELDS) | ANY)
def test_no_body_is_ever_our_fault(client: FlaskClient, runtime: Runtime, body: Any):
    opened(runtime, "acme")
    answer = client.post(CLAIMS, data=json.dumps(body), content_type="application/json")
    assert answer.status_code in {200, 201, 400, 409, 422}


# Released.


def test_releasing_is_200_and_200_again(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answers = [client.delete(f"{MEMBERS}/ada") for _ in range(2)]
    assert [(answer.status_code, answer.json) for answer in answers] == [
        (200, {"member_id": "ada", "released": True}),
        (200, {"member_id": "ada", "released": False}),
    ]
    assert seats(client)["used"] == 0


def test_releasing_somebody_never_seen_is_200(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    assert client.delete(f"{MEMBERS}/nobody").json == {"member_id": "nobody", "released": False}


def test_releasing_in_an_account_nobody_knows_is_404(client: FlaskClient):
    answer = client.delete(f"{MEMBERS}/ada")
    assert (answer.status_code, answer.json["code"]) == (404, "account_not_found")


def test_who_was_released_claims_anew(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    client.delete(f"{MEMBERS}/ada")
    assert claim(client).status_code == 201
    assert rows(runtime, "SELECT state FROM assignments ORDER BY id") == ["released", "active"]


def test_releasing_works_while_claims_are_blocked(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    bought(runtime, status="paused")
    assert client.delete(f"{MEMBERS}/ada").json["released"] is True


# Listed.


def pages(client: FlaskClient, address: str) -> list[list[str]]:
    """The member ids, page by page, until there is no next one."""
    found, cursor = [], ""
    while cursor is not None:
        document = client.get(f"{address}{cursor and f'&cursor={cursor}'}").json
        found.append([member["member_id"] for member in document["members"]])
        cursor = document["next_cursor"]
    return found


def test_the_pages_hold_every_member_once_oldest_first(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, *"abcde")
    assert pages(client, f"{MEMBERS}?limit=2") == [["a", "b"], ["c", "d"], ["e"]]
    assert pages(client, f"{MEMBERS}?limit=5") == [list("abcde")]


def test_who_comes_and_goes_between_pages_neither_repeats_nor_hides_others(
    client: FlaskClient, runtime: Runtime
):
    bought(runtime)
    claimed(runtime, *"abcd")
    first = client.get(f"{MEMBERS}?limit=2").json
    client.delete(f"{MEMBERS}/a")
    claimed(runtime, "e")
    second = client.get(f"{MEMBERS}?limit=9&cursor={first['next_cursor']}").json
    assert [member["member_id"] for member in second["members"]] == ["c", "d", "e"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", ["active", "held", "free", "viewing"]),
        ("state=active", ["active", "free", "viewing"]),
        ("state=held", ["held"]),
        ("state=released", ["gone"]),
        ("state=suspended", []),
        ("role=admin", ["held"]),
        ("type=full", ["active", "held"]),
        ("type=viewer", ["viewing"]),
        ("type=free", ["free"]),
        ("type=full&state=held&role=admin", ["held"]),
        ("type=nothing", []),
    ],
)
def test_members_are_found_by_state_role_and_type(
    client: FlaskClient, runtime: Runtime, asked: str, found: list[str]
):
    bought(runtime, addons=(AddonQuantity("adn_viewer", 1),))
    claimed(runtime, "active", "gone")
    claimed(runtime, "held", role="admin", hold=True)
    claimed(runtime, "free", role="client")
    claimed(runtime, "viewing", role="viewer")
    client.delete(f"{MEMBERS}/gone")
    assert pages(client, f"{MEMBERS}?limit=50&{asked}") == [found]


def test_everybody_listed_has_a_reason(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "active", "gone")
    claimed(runtime, "held", hold=True)
    claimed(runtime, "free", role="client")
    client.delete(f"{MEMBERS}/gone")
    listed = [*client.get(MEMBERS).json["members"], *client.get(f"{MEMBERS}?state=released").json["members"]]
    assert {member["member_id"]: (member["occupies_seat"], member["reason"]) for member in listed} == {
        "active": (True, "holds a full seat"),
        "held": (True, "a full seat is held until the invitation is accepted or expires"),
        "free": (False, "the role client is free"),
        "gone": (False, "the seat was released"),
    }


def test_the_members_of_nobody_are_404(client: FlaskClient):
    assert client.get(MEMBERS).json["code"] == "account_not_found"


@pytest.mark.parametrize(
    "asked",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "cursor=-1",
        "cursor=x",
        f"cursor={2**63}",
        "state=idle",
        "colour=red",
    ],
)
def test_a_bad_question_is_422(client: FlaskClient, runtime: Runtime, asked: str):
    bought(runtime)
    answer = client.get(f"{MEMBERS}?{asked}")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, asked.partition("=")[0])


# The same wish twice.


def under(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_the_same_key_and_body_get_the_same_answer(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    first, second = (claim(client, headers=under("k")) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert (second.data, second.content_type) == (first.data, first.content_type)
    assert seats(client)["used"] == 1


def test_a_refusal_is_an_answer_too(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, *"abcde")
    refused = claim(client, headers=under("k"))
    client.delete(f"{MEMBERS}/a")
    again = claim(client, headers=under("k"))
    assert (again.status_code, again.json, again.content_type) == (409, refused.json, refused.content_type)
    assert claim(client, headers=under("k2")).status_code == 201


def test_a_404_is_an_answer_too(client: FlaskClient, runtime: Runtime):
    claim(client, headers=under("k"))
    bought(runtime)
    assert claim(client, headers=under("k")).status_code == 404


def test_the_same_key_with_another_body_is_422(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claim(client, "ada", headers=under("k"))
    answer = claim(client, "bob", headers=under("k"))
    assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_reused")
    assert seats(client)["used"] == 1


def test_a_malformed_body_does_not_use_the_key_up(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    assert client.post(CLAIMS, json={"member_id": "ada"}, headers=under("k")).status_code == 422
    assert claim(client, headers=under("k")).status_code == 201


def test_the_same_key_of_another_caller_is_another_key(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    other = client_with(client.application, key_with(runtime, Scope.CLAIM))
    claim(client, "ada", headers=under("k"))
    assert claim(other, "bob", headers=under("k")).status_code == 201


def test_the_same_key_elsewhere_is_another_key(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    opened(runtime, "other")
    claim(client, "ada", headers=under("k"))
    assert client.delete(f"{MEMBERS}/ada", headers=under("k")).json["released"] is True
    body = {"member_id": "bob", "role": "client"}
    assert client.post("/v1/accounts/other/claims", json=body, headers=under("k")).status_code == 201


def test_a_release_under_a_key_tells_the_same_again(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answers = [client.delete(f"{MEMBERS}/ada", headers=under("k")).json for _ in range(2)]
    assert answers == [{"member_id": "ada", "released": True}] * 2


def test_after_a_day_the_key_is_new(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claim(client, headers=under("k"))
    run_sql(runtime, "UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'")
    assert claim(client, "bob", headers=under("k")).status_code == 201


@pytest.mark.parametrize("key", ["", "k" * 256, "é", "a\tb"], ids=["empty", "long", "not ASCII", "a tab"])
def test_a_bad_key_is_400(client: FlaskClient, runtime: Runtime, key: str):
    bought(runtime)
    answer = claim(client, headers=under(key))
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert seats(client)["used"] == 0


def at_once(client: FlaskClient, wishes: list[tuple[str, str]]) -> list[tuple[int, bytes]]:
    """Claims by (member, key), all sent at the same moment from threads of their own."""
    together, answers = threading.Barrier(len(wishes)), []

    def send(member_id: str, key: str) -> None:
        mine = client_with(client.application, None)
        mine.environ_base = client.environ_base
        together.wait()
        answer = claim(mine, member_id, headers=under(key))
        answers.append((answer.status_code, answer.data))

    threads = [threading.Thread(target=send, args=wish) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_one_key_at_one_moment_is_one_claim_with_equal_answers(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answers = at_once(client, [("ada", "k")] * 8)
    assert len(answers) == 8
    assert set(answers) == {answers[0]}
    assert answers[0][0] == 201
    assert seats(client)["used"] == 1


def test_one_key_at_one_moment_with_two_bodies_is_granted_to_one(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answers = at_once(client, [("ada", "k"), ("bob", "k")] * 4)
    assert {code for code, _ in answers} == {201, 422}
    assert [code for code, _ in answers].count(422) == 4
    assert seats(client)["used"] == 1


def test_the_last_seats_at_one_moment_go_to_as_many_as_there_are(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answers = at_once(client, [(f"m{number}", f"k{number}") for number in range(12)])
    assert sorted(code for code, _ in answers) == [201] * 5 + [409] * 7


def test_a_claim_needs_no_key(open_door: OpenDoor, runtime: Runtime):
    bought(runtime)
    assert claim(open_door()).status_code == 201
    assert rows(runtime, "SELECT key FROM idempotency_keys") == []


# What a refusal leaves behind.


def test_a_refusal_that_freed_a_lapsed_invitation_is_seen_by_the_next_reader(
    client: FlaskClient, runtime: Runtime
):
    bought(runtime, seats=2)
    claimed(runtime, *"abcdef")
    claimed(runtime, "g", hold=True)
    bought(runtime)
    run_sql(runtime, LATER)
    assert seats(client)["held"] == 1
    assert claim(client, "h").status_code == 409
    assert seats(client)["held"] == 0


def test_can_add_tells_what_a_claim_would_be_told(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, *"abcd")
    claimed(runtime, "e", hold=True)
    run_sql(runtime, LATER)
    told = client.get("/v1/accounts/acme/can-add?role=member").json["allowed"]
    assert (told, claim(client, "f").status_code) == (True, 201)


def test_a_blocked_claim_tells_the_accounts_status(client: FlaskClient, runtime: Runtime):
    bought(runtime, status="paused")
    assert claim(client).json["account_status"] == "suspended"


# A role that is probably a slip.


@pytest.fixture
def any_role(runtime: Runtime) -> Runtime:
    """Roles that are not named take a full seat."""
    return replace(runtime, catalog=replace(runtime.catalog, roles={**runtime.catalog.roles, "*": "full"}))


@pytest.mark.parametrize("role", ["Client", "client ", "CLIENT"])
def test_a_role_in_another_case_is_warned_of_in_the_answer(open_door: OpenDoor, any_role: Runtime, role: str):
    bought(any_role)
    client = open_door(any_role)
    alone = claim(client, role=role).json
    body = {"mode": "each", "claims": [{"member_id": "bob", "role": role}]}
    batch = client.post(f"{CLAIMS}/batch", json=body).json["results"][0]["assignment"]
    for shown in (alone, batch, client.get(f"{MEMBERS}/ada").json):
        assert shown["seat_type"] == "full"
        assert ["'client': free" in warning for warning in shown["warnings"]] == [True]


def test_a_refusal_is_warned_of_the_role_that_was_asked_for(open_door: OpenDoor, any_role: Runtime):
    bought(any_role)
    claimed(any_role, *"abcde")
    claimed(any_role, "ada", role="client")
    client = open_door(any_role)
    body = {"mode": "each", "claims": [{"member_id": "bob", "role": "Client"}]}
    refusals = [
        claim(client, role="Client").json,
        client.post(f"{CLAIMS}/batch", json=body).json["results"][0]["problem"],
        client.patch(f"{MEMBERS}/ada", json={"role": "Client"}).json,
    ]
    assert [(one["code"], len(one["warnings"])) for one in refusals] == [("no_seat_available", 1)] * 3


def test_a_claim_again_is_warned_of_the_role_it_asked_for(open_door: OpenDoor, any_role: Runtime):
    bought(any_role)
    client = open_door(any_role)
    claim(client, role="member")
    assert len(claim(client, role="Member").json["warnings"]) == 1


@pytest.mark.parametrize("role", ["client", "other"])
def test_a_role_that_is_no_slip_has_no_warnings(open_door: OpenDoor, any_role: Runtime, role: str):
    bought(any_role)
    assert "warnings" not in claim(open_door(any_role), role=role).json
