"""Changing members: roles, invitations, suspending and coming back, and what is only noted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from domain.snapshot import AddonQuantity
from models.api_key import Scope
from runtime.wiring import Runtime
from tests.audit_replay import assert_audit_matches_the_tables, assert_balances_count_the_assignments
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, claimed, key_with, rows, run_sql

MEMBER = "/v1/accounts/acme/members/ada"
VIEWERS = (AddonQuantity("adn_viewer", 1),)


def change(client: FlaskClient, member_id: str = "ada", **wanted: Any) -> TestResponse:
    return client.patch(f"/v1/accounts/acme/members/{member_id}", json=wanted)


def seats(client: FlaskClient) -> dict[str, tuple[int, int]]:
    document = client.get("/v1/accounts/acme/seats").json
    return {name: (kind["active"], kind["held"]) for name, kind in document["seats"].items()}


@pytest.fixture(autouse=True)
def books_stay_right(runtime: Runtime):
    yield
    with runtime.sessions() as session:
        assert_audit_matches_the_tables(session)
        assert_balances_count_the_assignments(session)


# Roles.


def test_another_role_of_the_same_seat_type_keeps_the_seat(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answer = change(client, role="admin")
    assert (answer.status_code, answer.json["role"], answer.json["seat_type"]) == (200, "admin", "full")
    assert seats(client)["full"] == (1, 0)


def test_a_role_of_another_seat_type_moves_the_member_in_one_step(client: FlaskClient, runtime: Runtime):
    bought(runtime, addons=VIEWERS)
    claimed(runtime, "ada")
    assert change(client, role="viewer").json["seat_type"] == "viewer"
    assert seats(client) == {"full": (0, 0), "viewer": (1, 0)}
    assert rows(runtime, "SELECT count(*) FROM audit WHERE member_id = 'ada'") == [2]


def test_a_move_to_a_seat_type_that_is_full_is_refused_and_changes_nothing(
    client: FlaskClient, runtime: Runtime
):
    bought(runtime, addons=VIEWERS)
    claimed(runtime, "vera", role="viewer")
    claimed(runtime, "ada")
    answer = change(client, role="viewer", protected=True)
    assert (answer.status_code, answer.json["code"]) == (409, "no_seat_available")
    assert seats(client) == {"full": (1, 0), "viewer": (1, 0)}
    assert rows(runtime, "SELECT protected FROM assignments WHERE member_id = 'ada'") == [False]


def test_a_move_to_a_free_role_gives_the_seat_back(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answer = change(client, role="client")
    assert (answer.json["occupies_seat"], answer.json["reason"]) == (False, "the role client is free")
    assert seats(client)["full"] == (0, 0)


def test_a_move_from_a_free_role_claims_a_seat(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada", role="client")
    claimed(runtime, *"bcdef")
    assert change(client, role="member").json["code"] == "no_seat_available"


def test_an_invited_member_s_move_holds_the_other_seat(client: FlaskClient, runtime: Runtime):
    bought(runtime, addons=VIEWERS)
    claimed(runtime, "ada", hold=True)
    assert change(client, role="viewer").json["state"] == "held"
    assert seats(client) == {"full": (0, 0), "viewer": (0, 1)}


def test_an_unknown_role_is_422_with_the_known_ones(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answer = change(client, role="wizard")
    assert (answer.status_code, answer.json["code"]) == (422, "unknown_role")


# Invitations.


def test_an_invitation_is_taken_up_on_the_same_row(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada", hold=True)
    answer = change(client, state="active")
    assert (answer.json["state"], answer.json["expires_at"]) == ("active", None)
    assert seats(client)["full"] == (1, 0)
    assert rows(runtime, "SELECT count(*) FROM assignments") == [1]


def test_an_invitation_sent_again_gets_its_whole_time_anew(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada", hold=True)
    before = client.get("/v1/accounts/acme/members").json["members"][0]["expires_at"]
    after = change(client, state="held").json["expires_at"]
    assert after > before
    assert seats(client)["full"] == (0, 1)


def test_an_invitation_that_lapsed_cannot_be_taken_up(client: FlaskClient, runtime: Runtime):
    """Its seat was free from that moment on, and may be somebody else's by now."""
    bought(runtime)
    claimed(runtime, "ada", hold=True)
    with runtime.sessions.begin() as session:
        session.connection().exec_driver_sql("SET LOCAL session_replication_role = replica")
        session.connection().exec_driver_sql(
            "UPDATE audit SET subject_after = jsonb_set(subject_after, '{expires_at}', to_jsonb("
            "to_char(now() AT TIME ZONE 'UTC' - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SS+00:00')))"
        )
        session.connection().exec_driver_sql(
            "UPDATE assignments SET expires_at = date_trunc('second', now() - interval '1 hour')"
        )
    answer = change(client, state="active")
    assert (answer.status_code, answer.json["code"]) == (409, "hold_expired")
    assert seats(client)["full"] == (0, 0)


# Suspending and coming back.


def test_suspending_frees_the_seat_and_keeps_the_member(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    answer = change(client, state="suspended")
    assert (answer.json["state"], answer.json["occupies_seat"]) == ("suspended", False)
    assert seats(client)["full"] == (0, 0)


def test_coming_back_is_a_claim(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    change(client, state="suspended")
    assert change(client, state="active").json["state"] == "active"
    assert seats(client)["full"] == (1, 0)


def test_coming_back_is_refused_where_a_claim_would_be(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    change(client, state="suspended")
    claimed(runtime, *"bcdef")
    answer = change(client, state="active")
    assert (answer.status_code, answer.json["code"]) == (409, "no_seat_available")
    assert change(client, state="suspended").status_code == 200


def test_a_suspended_member_changes_role_without_a_seat(client: FlaskClient, runtime: Runtime):
    bought(runtime, addons=VIEWERS)
    claimed(runtime, "ada")
    change(client, state="suspended")
    assert change(client, role="viewer").json["seat_type"] == "viewer"
    assert seats(client) == {"full": (0, 0), "viewer": (0, 0)}


@pytest.mark.parametrize(
    ("hold", "state"), [(True, "suspended"), (False, "held")], ids=["held to suspended", "active to held"]
)
def test_a_state_out_of_reach_is_refused_with_those_within(
    client: FlaskClient, runtime: Runtime, hold: bool, state: str
):
    bought(runtime)
    claimed(runtime, "ada", hold=hold)
    answer = change(client, state=state)
    assert (answer.status_code, answer.json["code"]) == (409, "wrong_state")
    assert state not in answer.json["reachable"]


# What is only noted.


def test_last_activity_never_goes_back_and_never_lies_ahead(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    told = "2026-11-20T10:00:00Z"
    assert change(client, last_active_at=told).json["last_active_at"] == told
    assert change(client, last_active_at="2026-11-19T10:00:00+02:00").json["last_active_at"] == told
    far = (datetime.now(UTC) + timedelta(days=900)).isoformat()
    assert change(client, last_active_at=far).json["last_active_at"] < far


def test_reporting_activity_moves_no_seat_and_writes_no_audit(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    before = rows(runtime, "SELECT version FROM accounts")
    change(client, last_active_at="2026-11-20T10:00:00Z")
    assert rows(runtime, "SELECT version FROM accounts") == before


def test_names_and_addresses_stay_out_of_the_audit(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada", name="Ada Lovelace", email="ada@example.com")
    answer = change(client, name="Ada King", email=" ADA@example.org ", role="admin")
    assert (answer.json["name"], answer.json["email"]) == ("Ada King", "ADA@example.org")
    audit = rows(runtime, "SELECT audit::text FROM audit")
    assert not any("example" in row or "Lovelace" in row or "King" in row for row in audit)


def test_an_address_belongs_to_one_member(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    claimed(runtime, "bob", email="bob@example.com")
    answer = change(client, email="BOB@example.com")
    assert (answer.status_code, answer.json["code"], answer.json["member_id"]) == (409, "email_taken", "bob")


def test_protection_is_in_the_audit(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    assert change(client, protected=True).json["protected"] is True
    protected = "SELECT subject_after->'protected' FROM audit WHERE member_id = 'ada' ORDER BY id"
    assert rows(runtime, protected) == [False, True]


# Refusals.


@pytest.mark.parametrize("wanted", [{"role": "admin"}, {"last_active_at": "2026-11-20T10:00:00Z"}])
def test_a_member_nobody_knows_is_404(client: FlaskClient, runtime: Runtime, wanted: dict[str, str]):
    bought(runtime)
    answer = change(client, "nobody", **wanted)
    assert (answer.status_code, answer.json["code"]) == (404, "member_not_found")


def test_a_released_member_has_to_claim_again(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    client.delete(MEMBER)
    assert change(client, state="active").json["code"] == "member_not_found"


def test_an_account_nobody_knows_is_404(client: FlaskClient):
    assert change(client, role="admin").json["code"] == "account_not_found"
    assert change(client, last_active_at="2026-11-20T10:00:00Z").json["code"] == "account_not_found"


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"role": None},
        {"role": ""},
        {"state": "released"},
        {"state": 1},
        {"protected": "yes"},
        {"last_active_at": "yesterday"},
        {"last_active_at": "2026-11-20T10:00:00"},
        {"last_active_at": "0001-01-01T00:00:00+01:00"},
        {"last_active_at": "1969-12-31T23:59:59Z"},
        {"last_active_at": "9999-12-31T23:59:59-14:00"},
        {"email": "nobody"},
        {"name": "\x00"},
        {"seat_type": "full"},
    ],
    ids=str,
)
def test_nonsense_is_422_and_changes_nothing(client: FlaskClient, runtime: Runtime, wanted: dict[str, Any]):
    bought(runtime)
    claimed(runtime, "ada")
    before = rows(runtime, "SELECT assignments::text FROM assignments")
    assert change(client, **wanted).status_code == 422
    assert rows(runtime, "SELECT assignments::text FROM assignments") == before


def test_it_takes_the_scope_claim(open_door: OpenDoor, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    reader = open_door(key=key_with(runtime, Scope.READ))
    assert change(reader, role="admin").json["needed_scope"] == "claim"


def test_the_same_wish_under_one_key_is_done_once(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    headers = {"Idempotency-Key": "one"}
    first = client.patch(MEMBER, json={"state": "suspended"}, headers=headers)
    run_sql(runtime, "SELECT 1")
    change(client, state="active")
    second = client.patch(MEMBER, json={"state": "suspended"}, headers=headers)
    assert first.json == second.json
    assert seats(client)["full"] == (1, 0)


def test_a_claim_for_somebody_suspended_is_refused_with_the_way_back(client: FlaskClient, runtime: Runtime):
    """200 would say that they have a seat."""
    bought(runtime)
    claimed(runtime, "ada")
    change(client, state="suspended")
    answer = client.post("/v1/accounts/acme/claims", json={"member_id": "ada", "role": "member"})
    assert (answer.status_code, answer.json["code"]) == (409, "wrong_state")
    assert "PATCH" in answer.json["detail"]
