"""Rules of an account's own: set, shown, audited, taken back."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from models.api_key import Scope
from runtime.wiring import Runtime
from tests.audit_replay import assert_audit_matches_the_tables
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, claimed, key_with, opened, rows

POLICY = "/v1/accounts/acme/policy"
CATALOGUE = {
    "account_id": "acme",
    "policy": "strict",
    "seat_types": {},
    "grace_days": 14,
    "suspend_after_grace": False,
    "payment_grace_days": 7,
    "hold_days": 7,
    "rules": {},
    "override": None,
}
STRICT = {"policy": "strict", "grace_days": 14, "suspend_after_grace": False, "hold_days": 7}
BOUGHT = {**CATALOGUE, "rules": {"full": STRICT, "viewer": STRICT}}


def claim(client: FlaskClient, member_id: str, role: str = "member") -> Any:
    return client.post("/v1/accounts/acme/claims", json={"member_id": member_id, "role": role})


def test_without_a_word_of_the_app_the_catalogue_rules(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    assert client.get(POLICY).json == CATALOGUE


def test_what_is_set_holds_at_once(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, *"abcde")
    assert claim(client, "f").json["code"] == "no_seat_available"
    answer = client.put(POLICY, json={"policy": "soft"})
    soft = {**STRICT, "policy": "soft"}
    in_force = {"policy": "soft", "rules": {"full": soft, "viewer": soft}, "override": {"policy": "soft"}}
    assert answer.json == {**CATALOGUE, **in_force}
    assert client.get(POLICY).json == answer.json
    assert claim(client, "f").status_code == 201
    assert client.get("/v1/accounts/acme/seats").json["policy"] == "soft"


def test_one_seat_type_may_have_a_policy_of_its_own(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, *"abcde")
    client.put(POLICY, json={"seat_types": {"viewer": "soft"}})
    assert claim(client, "v", role="viewer").status_code == 201
    assert claim(client, "f").json["code"] == "no_seat_available"


def test_an_empty_word_gives_the_catalogue_s_rules_back(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    client.put(POLICY, json={"policy": "grace", "grace_days": 3, "suspend_after_grace": True})
    assert client.put(POLICY, json={}).json == BOUGHT


def test_a_new_look_at_the_provider_does_not_undo_it(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    client.put(POLICY, json={"policy": "soft"})
    bought(runtime, seats=3)
    assert client.get("/v1/accounts/acme/seats").json["policy"] == "soft"


def test_grace_shows_its_deadline_in_the_document(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    client.put(POLICY, json={"policy": "grace", "grace_days": 3})
    claimed(runtime, *"abcdef")
    document = client.get("/v1/accounts/acme/seats").json
    assert (document["status"], document["seats"]["full"]["overage"]) == ("grace", 1)
    assert document["deadline"] is not None
    can_add = client.get("/v1/accounts/acme/can-add?role=member").json
    assert (can_add["allowed"], can_add["code"]) == (True, "granted_in_grace")


def test_each_change_is_in_the_audit(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    client.put(POLICY, json={"grace_days": 3})
    client.put(POLICY, json={"grace_days": 3})
    subjects = "SELECT subject_after->'override' FROM audit WHERE subject_after ? 'override'"
    assert rows(runtime, subjects) == [{"grace_days": 3}]
    with runtime.sessions() as session:
        assert_audit_matches_the_tables(session)


@pytest.mark.parametrize(
    "body",
    [
        {"policy": "lenient"},
        {"grace_days": -1},
        {"grace_days": 366},
        {"grace_days": "3"},
        {"suspend_after_grace": "yes"},
        {"seat_types": {"full": "lenient"}},
        {"payment_grace_days": 3},
    ],
    ids=str,
)
def test_nonsense_is_422(client: FlaskClient, runtime: Runtime, body: dict[str, Any]):
    opened(runtime, "acme")
    assert client.put(POLICY, json=body).status_code == 422
    assert client.get(POLICY).json == CATALOGUE


def test_an_unknown_policy_is_answered_with_those_known(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    detail = client.put(POLICY, json={"policy": "lenient"}).json["detail"]
    assert "auto_expand, grace, soft, strict" in detail


def test_an_unknown_seat_type_is_answered_with_those_known(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    answer = client.put(POLICY, json={"seat_types": {"sofa": "soft"}})
    assert (answer.status_code, answer.json["code"]) == (422, "unknown_seat_type")
    assert answer.json["known_seat_types"] == ["full", "viewer"]


def test_an_account_nobody_knows_is_404(client: FlaskClient):
    assert client.put(POLICY, json={}).json["code"] == "account_not_found"
    assert client.get(POLICY).json["code"] == "account_not_found"


def test_it_takes_the_scope_admin(open_door: OpenDoor, runtime: Runtime):
    opened(runtime, "acme")
    key = open_door(key=key_with(runtime, Scope.CLAIM, Scope.BILLING, Scope.READ))
    assert key.put(POLICY, json={}).json["needed_scope"] == "admin"
