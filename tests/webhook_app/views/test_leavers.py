"""Who would have to leave: with names, in their places, for one seat type or for all."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from models.api_key import Scope
from runtime.wiring import Runtime
from services.ledger import seat_holders
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, claimed, key_with, run_sql

LEAVERS = "/v1/accounts/acme/leavers"


def asked(client: FlaskClient, query: str = "", seat_type: str = "full") -> dict[str, Any]:
    """What is told of one seat type."""
    return client.get(f"{LEAVERS}?{query}").json["seat_types"][seat_type]


def leaving(client: FlaskClient, query: str = "", seat_type: str = "full") -> list[str]:
    return [one["member_id"] for one in asked(client, query, seat_type)["leavers"]]


def reported(runtime: Runtime, member_id: str, day: str) -> None:
    """The app has said that the member was last active on this day."""
    run_sql(runtime, f"UPDATE assignments SET last_active_at = '{day}Z' WHERE member_id = '{member_id}'")


def test_everything_is_said_about_a_leaver(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada", "bob")
    run_sql(
        runtime,
        "UPDATE assignments SET name = 'Ada Lovelace', claimed_at = '2026-11-01Z', "
        "last_active_at = '2026-11-03T09:30Z' WHERE member_id = 'ada'",
    )
    run_sql(runtime, "UPDATE assignments SET protected = true WHERE member_id = 'bob'")
    assert client.get(f"{LEAVERS}?type=full&to=1").json == {
        "account_id": "acme",
        "order": "least_active",
        "seat_types": {
            "full": {
                "used": 2,
                "purchased": 5,
                "target": 1,
                "total": 1,
                "leavers": [
                    {
                        "place": 1,
                        "member_id": "ada",
                        "name": "Ada Lovelace",
                        "role": "member",
                        "state": "active",
                        "protected": False,
                        "claimed_at": "2026-11-01T00:00:00Z",
                        "last_active_at": "2026-11-03T09:30:00Z",
                        "reason": "not active since 3 Nov 2026",
                    }
                ],
            }
        },
    }


def test_invitations_go_first_and_owners_last(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "owner", protected=True)
    claimed(runtime, "busy", "idle", "silent")
    claimed(runtime, "invited", hold=True)
    reported(runtime, "busy", "2026-11-20")
    reported(runtime, "idle", "2026-10-20")
    assert leaving(client, "to=0") == ["invited", "silent", "idle", "busy", "owner"]


def test_a_member_without_a_name_is_listed_without_one(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    assert [one["name"] for one in asked(client, "to=0")["leavers"]] == [None]


def test_nobody_leaves_while_everybody_has_a_seat(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    assert asked(client) == {"used": 1, "purchased": 5, "target": 5, "total": 0, "leavers": []}


def test_unasked_it_tells_who_is_beyond_what_is_purchased(client: FlaskClient, runtime: Runtime):
    bought(runtime, seats=1)
    claimed(runtime, "a", "b", "c", "d", "e", "f")
    bought(runtime, seats=0)
    told = asked(client)
    assert (told["target"], told["total"], leaving(client)) == (5, 1, ["f"])


def test_unasked_it_tells_of_every_seat_type(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    assert client.get(LEAVERS).json["seat_types"].keys() == {"full", "viewer"}


def test_who_sits_on_another_seat_or_on_none_stays(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    claimed(runtime, "client", role="client")
    assert (leaving(client, "to=0"), leaving(client, "to=0", "viewer")) == (["ada"], [])


def test_nobody_has_to_leave_unlimited_seats(client: FlaskClient, runtime: Runtime):
    bought(runtime, product_id="pdt_unlimited")
    claimed(runtime, "ada")
    told = asked(client)
    assert (told["purchased"], told["target"], told["leavers"]) == ("unlimited", "unlimited", [])


def test_unlimited_seats_can_be_imagined_fewer(client: FlaskClient, runtime: Runtime):
    bought(runtime, product_id="pdt_unlimited")
    claimed(runtime, "ada", "bob")
    assert leaving(client, "to=1") == ["bob"]


def test_a_known_seat_type_that_the_account_never_had_is_empty(client: FlaskClient):
    client.put("/v1/accounts/acme")
    told = asked(client, "type=viewer", "viewer")
    assert told == {"used": 0, "purchased": 0, "target": 0, "total": 0, "leavers": []}


def test_of_very_many_the_first_thousand_are_listed(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    run_sql(
        runtime,
        "INSERT INTO assignments (account_id, member_id, role, seat_type, state) "
        "SELECT 'acme', 'member-' || n, 'member', 'full', 'active' FROM generate_series(1, 1002) AS n",
    )
    run_sql(runtime, "UPDATE accounts SET seats = jsonb_set(seats, '{full,active}', '1002')")
    told = asked(client, "to=1")
    assert (told["total"], len(told["leavers"])) == (1001, 1000)


def test_the_figures_and_the_people_are_of_one_moment(
    client: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    bought(runtime)
    claimed(runtime, "ada")
    read = seat_holders.on_types

    def read_late(*about: Any) -> Any:
        claimed(runtime, "somebody meanwhile")
        return read(*about)

    monkeypatch.setattr(seat_holders, "on_types", read_late)
    told = asked(client, "to=0")
    assert (told["total"], [one["member_id"] for one in told["leavers"]]) == (1, ["ada"])


def test_nobody_leaves_by_being_listed(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    claimed(runtime, "ada")
    before = client.get("/v1/accounts/acme/seats").json
    leaving(client, "to=0")
    assert client.get("/v1/accounts/acme/seats").json["version"] == before["version"]


def test_an_unknown_seat_type_is_422_with_those_known(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answer = client.get(f"{LEAVERS}?type=golden")
    assert (answer.status_code, answer.json["code"]) == (422, "unknown_seat_type")
    assert answer.json["known_seat_types"] == ["full", "viewer"]


@pytest.mark.parametrize("query", ["to=-1", "to=some", "to=1.5", "type=", "seat_type=full"])
def test_a_bad_question_is_422_and_says_where(client: FlaskClient, runtime: Runtime, query: str):
    bought(runtime)
    answer = client.get(f"{LEAVERS}?{query}")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
    assert answer.json["errors"][0]["where"] == query.partition("=")[0]


@pytest.mark.parametrize("query", ["", "?type=full", "?type=golden"])
def test_an_unknown_account_is_404(client: FlaskClient, query: str):
    answer = client.get(f"/v1/accounts/nobody/leavers{query}")
    assert (answer.status_code, answer.json["code"]) == (404, "account_not_found")


def test_a_key_that_may_not_read_is_refused(open_door: OpenDoor, runtime: Runtime):
    bought(runtime)
    may_claim = open_door(key=key_with(runtime, Scope.CLAIM))
    assert may_claim.get(LEAVERS).status_code == 403
