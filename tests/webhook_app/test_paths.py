"""Ids in paths: an id names itself alone, and nothing unknown below an account is ever created."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.wiring import Runtime
from tests.conftest import API_KEY
from tests.stack import free_port
from tests.webhook_app.setup_helpers import bought, claimed, opened, rows

GUNICORN = Path(sys.executable).with_name("gunicorn")
ODD = [
    "a/b//c",
    "/Projects/Test",
    "x/",
    "/",
    "...",
    "ünï ⓒ",
    "m" * 200,
    "👩‍👩‍👧",
    "members",
    "%2F",
    "a%2Fb",
    "'; --",
    "?#",
]
REFUSED = [".", "..", " a", "a ", "é" * 257 + "x", "👩" * 129, "👩" * 200]
METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE"]


def encoded(text: str) -> str:
    """Every byte of it, as a careful client may do."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_member_id_is_claimed_and_released_under_itself(
    client: FlaskClient, runtime: Runtime, odd: str
):
    bought(runtime)
    body = {"member_id": odd, "role": "member"}
    assert client.post("/v1/accounts/acme/claims", json=body).json["member_id"] == odd
    answer = client.delete(f"/v1/accounts/acme/members/{encoded(odd)}")
    assert answer.json == {"member_id": odd, "released": True}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_account_id_is_created_and_read_under_itself(client: FlaskClient, odd: str):
    assert client.put(f"/v1/accounts/{encoded(odd)}").status_code == 201
    assert client.get(f"/v1/accounts/{encoded(odd)}/seats").json["account_id"] == odd


TEXT = st.text(st.sampled_from("ab/.%2F \t?#é👩\u200d"), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(account_id=TEXT, member_id=TEXT)
def test_whatever_is_accepted_names_itself_alone(
    client: FlaskClient, runtime: Runtime, account_id: str, member_id: str
):
    before = set(rows(runtime, "SELECT id FROM accounts"))
    account = f"/v1/accounts/{encoded(account_id)}"
    created = client.put(account)
    granted = client.post(f"{account}/claims", json={"member_id": member_id, "role": "client"})
    if created.status_code == 422:
        assert client.get(f"{account}/seats").status_code in {404, 422}
    elif granted.status_code == 422:
        assert not client.delete(f"{account}/members/{encoded(member_id)}").json.get("released")
    else:
        assert created.json["account_id"] == account_id
        assert client.delete(f"{account}/members/{encoded(member_id)}").json == {
            "member_id": member_id,
            "released": True,
        }
    assert set(rows(runtime, "SELECT id FROM accounts")) <= {*before, account_id}


@pytest.mark.parametrize("text", REFUSED, ids=ascii)
def test_what_no_url_can_name_is_refused_at_every_entry_point(
    client: FlaskClient, runtime: Runtime, text: str
):
    bought(runtime)
    claim = {"member_id": text, "role": "client"}
    answers = [
        client.put(f"/v1/accounts/{encoded(text)}"),
        client.put(f"/v1/accounts/{encoded(text)}/subscriptions/sub_1"),
        client.put(f"/v1/accounts/acme/subscriptions/{encoded(text)}"),
        client.post("/v1/accounts/acme/claims", json=claim),
        client.post("/v1/accounts/acme/claims/batch", json={"mode": "each", "claims": [claim]}),
    ]
    assert [(answer.status_code, answer.json["code"]) for answer in answers] == [(422, "invalid_request")] * 5
    assert rows(runtime, "SELECT id FROM accounts") == ["acme"]


# An id that looks like a path.


@pytest.mark.parametrize("slash", ["%2F", "%2f"])
@pytest.mark.parametrize("below", ["subscriptions/sub_1", "policy", "members/ada", "seats", "claims/batch"])
def test_an_account_id_that_looks_like_a_path_is_an_account_of_its_own(
    client: FlaskClient, runtime: Runtime, below: str, slash: str
):
    bought(runtime)
    claimed(runtime, "ada")
    client.put(f"/v1/accounts/evil{slash}{below.replace('/', slash)}", json={"policy": "soft"})
    client.put(f"/v1/accounts/acme{slash}{below.replace('/', slash)}", json={"policy": "soft"})
    assert rows(runtime, "SELECT id FROM accounts ORDER BY id") == ["acme", f"acme/{below}", f"evil/{below}"]
    assert rows(runtime, "SELECT account_id FROM subscriptions") == ["acme"]
    assert rows(runtime, "SELECT policy FROM accounts WHERE id = 'acme'") == ["strict"]


def test_releasing_a_member_of_an_odd_account_releases_nobody_of_another(
    client: FlaskClient, runtime: Runtime
):
    bought(runtime)
    claimed(runtime, "x")
    opened(runtime, "acme/members/x")
    claimed(runtime, "y", account_id="acme/members/x", role="client")
    answer = client.delete("/v1/accounts/acme%2Fmembers%2Fx/members/y")
    assert answer.json == {"member_id": "y", "released": True}
    assert rows(runtime, "SELECT member_id FROM assignments WHERE state = 'active'") == ["x"]


@pytest.mark.parametrize("path", ["bob/", "bob//", "/bob", "bob/seat", "x/../bob"])
def test_slashes_that_are_not_encoded_separate(client: FlaskClient, runtime: Runtime, path: str):
    bought(runtime)
    claimed(runtime, "bob")
    assert client.delete(f"/v1/accounts/acme/members/{path}").status_code == 404
    assert rows(runtime, "SELECT state FROM assignments") == ["active"]


@pytest.mark.parametrize("segment", ["%FF%FE", "%C3", "%ED%A0%80", "%zz", "%", "100%", "%2", "a%2Fb%F"])
@pytest.mark.parametrize("path", ["{}", "acme/members/{}", "{}/seats"])
def test_a_segment_that_is_not_percent_encoded_utf_8_is_refused_as_such(
    client: FlaskClient, segment: str, path: str
):
    answer = client.put(f"/v1/accounts/{path.format(segment)}")
    assert (answer.status_code, answer.json["code"]) == (400, "path_unreadable")


@pytest.mark.parametrize(
    "path", ["/v1/%61ccounts/acme/seats", "/v1/accounts/%61cme/seats", "/v1/accounts/acme/s%65ats"]
)
def test_an_escape_that_was_not_needed_changes_nothing(client: FlaskClient, runtime: Runtime, path: str):
    bought(runtime)
    assert client.get(path).json["account_id"] == "acme"


# Below an account.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "below", ["polcy", "seats/", "seats/full", "x/y/z", "", "members/ada/seat", "%70olcy"]
)
def test_an_unknown_path_below_an_account_is_404_and_creates_nothing(
    client: FlaskClient, runtime: Runtime, below: str, method: str
):
    answer = client.open(f"/v1/accounts/acme/{below}", method=method, json={})
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert rows(runtime, "SELECT id FROM accounts") == []


@pytest.mark.parametrize(
    "below", ["", "/seats", "/policy", "/claims", "/members", "/subscriptions/{subscription_id}"]
)
def test_allow_names_the_methods_that_are_described(client: FlaskClient, below: str):
    path = f"/v1/accounts/{{account_id}}{below}"
    methods = {method.upper() for method in client.get("/openapi.json").json["paths"][path]}
    wrong = client.open(path, method="TRACE")
    assert wrong.status_code == 405
    for answer in (wrong, client.options(path)):
        assert set(answer.headers["Allow"].split(", ")) - {"HEAD", "OPTIONS"} == methods


def test_options_of_an_unknown_path_are_404(client: FlaskClient):
    assert client.options("/v1/accounts/acme/polcy").status_code == 404


def test_no_route_takes_more_than_one_segment_for_an_id(app: Flask):
    assert not [rule.rule for rule in app.url_map.iter_rules() if "<path:" in rule.rule]


# Ids from before the rule.


def test_an_account_and_a_member_from_before_the_rule_can_be_read_and_released(
    client: FlaskClient, runtime: Runtime
):
    opened(runtime, "..")
    claimed(runtime, " ada", account_id="..", role="client")
    assert client.get("/v1/accounts/%2E%2E/seats").json["account_id"] == ".."
    assert client.delete("/v1/accounts/%2E%2E/members/%20ada").json["released"] is True


# Servers.


def environ_of(path: str, **sent: str) -> dict[str, str]:
    return {"PATH_INFO": path, "RAW_URI": "", "REQUEST_URI": "", **sent}


@pytest.mark.parametrize("path", ["/v1/accounts/acme/seats", "/v1/accounts/evil/subscriptions/sub_1"])
def test_a_server_that_does_not_pass_the_path_as_it_was_sent_is_refused(client: FlaskClient, path: str):
    answer = client.get("/", environ_overrides=environ_of(path))
    assert (answer.status_code, answer.json["code"]) == (501, "path_not_passed")


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json"])
def test_such_a_server_serves_what_holds_no_ids(client: FlaskClient, path: str):
    assert client.get("/", environ_overrides=environ_of(path)).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        {"RAW_URI": "http://host/v1/accounts/a%2Fb/seats?x=%2F"},
        {"REQUEST_URI": "/v1/accounts/a%2Fb/seats"},
        {"RAW_URI": "/app/v1/accounts/a%2Fb/seats", "SCRIPT_NAME": "/app"},
        {"RAW_URI": "/v1/accounts/a%2Fb/seats", "SCRIPT_NAME": "/app"},
    ],
)
def test_the_path_is_found_in_what_servers_pass(client: FlaskClient, runtime: Runtime, sent: dict[str, str]):
    opened(runtime, "a/b")
    answer = client.get("/", environ_overrides=environ_of("/v1/accounts/a/b/seats", **sent))
    assert answer.json["account_id"] == "a/b"


@pytest.mark.parametrize("sent", ["/v1/accounts/other%2Fone/seats", "http://[::1/%2F", "%"])
def test_a_path_that_was_rewritten_on_the_way_is_refused(client: FlaskClient, sent: str):
    answer = client.get("/", environ_overrides=environ_of("/v1/accounts/a/b/seats", RAW_URI=sent))
    assert (answer.status_code, answer.json["code"]) == (400, "path_unreadable")


@pytest.fixture
def port(environment: dict[str, str], runtime: Runtime) -> Iterator[int]:
    """The app behind the server it runs under."""
    bought(runtime)
    port = free_port()
    command = [GUNICORN, "webhook_app.main:create()", "--worker-class=gthread", "--no-control-socket"]
    bind = f"--bind=127.0.0.1:{port}"
    with subprocess.Popen([*command, "--log-level=error", bind], env=environment) as server:
        try:
            yield port
        finally:
            server.terminate()


def asked(port: int, method: str, path: str) -> int:
    """The status of the answer to exactly this path, once the server answers."""
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with suppress(ConnectionRefusedError):
            connection.putrequest(method, path)
            connection.putheader("Authorization", f"Bearer {API_KEY}")
            connection.endheaders()
            status = connection.getresponse().status
            connection.close()
            return status
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_behind_the_real_server_an_encoded_slash_belongs_to_the_id(port: int, runtime: Runtime):
    longest = "👩" * 128
    assert asked(port, "PUT", "/v1/accounts/evil%2Fsubscriptions%2Fsub_1") == 201
    assert asked(port, "PUT", f"/v1/accounts/{encoded(longest)}") == 201
    assert asked(port, "DELETE", f"/v1/accounts/{encoded(longest)}/members/{encoded(longest)}") == 200
    assert asked(port, "GET", "http://127.0.0.1/v1/accounts/evil%2Fsubscriptions%2Fsub_1/seats") == 200
    assert rows(runtime, "SELECT account_id FROM subscriptions") == ["acme"]
    assert asked(port, "PUT", "/v1/accounts/acme/polcy") == 404
    assert rows(runtime, "SELECT id FROM accounts ORDER BY id") == [
        "acme",
        "evil/subscriptions/sub_1",
        longest,
    ]
