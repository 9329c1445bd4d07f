"""`members?at=TIME`: who held a seat at that time, from the audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from flask.testing import FlaskClient

from models.api_key import Scope
from models.assignment import AssignmentState
from runtime.wiring import Runtime
from tests.acme import DAY, Acme
from tests.clock import Clock
from tests.factories import NOON
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import key_with

MEMBERS, SEATS = "/v1/accounts/acme/members", "/v1/accounts/acme/seats"
HOUR: Final = timedelta(hours=1)
STEPS: Final[Sequence[Callable[[Acme], object]]] = (
    lambda acme: acme.seats("ada", "bob"),
    lambda acme: acme.seats("guest", hold=True),
    lambda acme: acme.seats("client", role="client"),
    lambda acme: acme.member("guest", state=AssignmentState.ACTIVE),
    lambda acme: acme.member("bob", state=AssignmentState.SUSPENDED),
    lambda acme: acme.renames("ada", "ada-2"),
    lambda acme: acme.member("client", role="member", protected=True),
    lambda acme: acme.reassigns("ada-2", "ida"),
    lambda acme: acme.releases("guest"),
    lambda acme: acme.seats("guest"),
)
"""Each way in which members change."""


@pytest.fixture
def acme(clocked_runtime: Runtime, clock: Clock) -> Acme:
    acme = Acme(clocked_runtime, clock)
    acme.buys("grace", 5)
    return acme


@pytest.fixture
def client(open_door: OpenDoor, acme: Acme) -> FlaskClient:
    return open_door(acme.runtime)


def then(client: FlaskClient, moment: datetime, path: str = MEMBERS, **asked: object) -> Any:
    return client.get(path, query_string={"at": moment.isoformat(), **asked}).json


def ids(client: FlaskClient, moment: datetime, **asked: object) -> list[str]:
    return [one["member_id"] for one in then(client, moment, **asked)["members"]]


def test_at_each_time_the_members_are_those_that_were_listed_then(client: FlaskClient, acme: Acme):
    listed = []
    for step in STEPS:
        step(acme)
        listed.append(client.get(MEMBERS).json)
        acme.clock.advance(HOUR)
    assert [then(client, NOON + n * HOUR) for n in range(len(STEPS))] == listed


def test_at_each_time_they_are_as_many_as_the_seats_that_were_used(client: FlaskClient, acme: Acme):
    for step in STEPS:
        step(acme)
        acme.clock.advance(HOUR)
    for n in range(len(STEPS)):
        moment = NOON + n * HOUR
        states = Counter(
            one["state"] for one in then(client, moment, type="full")["members"] if one["occupies_seat"]
        )
        figures = then(client, moment, SEATS)["seats"]["full"]
        assert (states["active"], states["held"]) == (figures["active"], figures["held"])


def test_a_change_counts_from_its_own_moment_on(client: FlaskClient, acme: Acme):
    acme.clock.advance(DAY)
    acme.seats("ada")
    moments = (NOON + DAY - timedelta(microseconds=1), NOON + DAY)
    assert [ids(client, moment) for moment in moments] == [[], ["ada"]]


@pytest.mark.parametrize(
    ("asked", "members"),
    [
        ({"state": "active"}, ["ada", "client"]),
        ({"state": "held"}, ["guest"]),
        ({"state": "released"}, ["gone"]),
        ({"type": "full"}, ["ada", "guest"]),
        ({"type": "free"}, ["client"]),
        ({"role": "client"}, ["client"]),
        ({"member_id": "ada"}, ["ada"]),
        ({"member_id": "later"}, []),
        ({"email": "ADA@example.com"}, ["ada"]),
    ],
    ids=str,
)
def test_the_filters_mean_what_was_true_then(
    client: FlaskClient, acme: Acme, asked: dict[str, str], members: list[str]
):
    acme.seats("ada", email="ada@example.com")
    acme.seats("gone")
    acme.releases("gone")
    acme.seats("guest", hold=True)
    acme.seats("client", role="client")
    acme.clock.advance(DAY)
    acme.releases("guest", "client")
    acme.member("ada", state=AssignmentState.SUSPENDED, role="viewer")
    acme.renames("ada", "later")
    assert ids(client, NOON, **asked) == members


def test_the_members_of_another_account_are_not_listed(client: FlaskClient, acme: Acme):
    acme.seats("ada")
    acme.also_buys("pdt_of_strict", metadata={"account_id": "other"})
    answer = client.get("/v1/accounts/other/members", query_string={"at": NOON.isoformat()})
    assert answer.json["members"] == []


def test_pages_follow_each_other(client: FlaskClient, acme: Acme):
    acme.seats("a", "b", "c")
    acme.clock.advance(DAY)
    acme.releases("a", "b", "c")
    first = then(client, NOON, limit=2)
    last = then(client, NOON, limit=2, cursor=first["next_cursor"])
    pages = [[one["member_id"] for one in page["members"]] for page in (first, last)]
    assert (pages, last["next_cursor"]) == ([["a", "b"], ["c"]], None)


def test_when_members_were_last_active_is_not_known_of_the_past(client: FlaskClient, acme: Acme):
    acme.seats("ada")
    acme.member("ada", last_active_at=NOON)
    assert then(client, NOON)["members"][0]["last_active_at"] is None


def test_before_the_accounts_first_change_nothing_is_known(client: FlaskClient, acme: Acme):
    answer = client.get(f"{MEMBERS}?at=2026-11-22T11:59:59Z")
    assert (answer.status_code, answer.json["code"]) == (404, "not_known_then")


def test_an_unknown_account_is_404(client: FlaskClient):
    answer = client.get("/v1/accounts/nobody/members?at=2026-11-22T12:00:00Z")
    assert (answer.status_code, answer.json["code"]) == (404, "account_not_found")


@pytest.mark.parametrize(
    ("at", "problem"), [("2026-11-22T12:00:01Z", "is in the future"), ("2026-11-22", "with an offset")]
)
def test_a_time_that_cannot_be_shown_is_422(client: FlaskClient, acme: Acme, at: str, problem: str):
    answer = client.get(f"{MEMBERS}?at={at}")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, "at")
    assert problem in answer.json["detail"]


def test_it_takes_the_scope_read(open_door: OpenDoor, acme: Acme):
    client = open_door(acme.runtime, key=key_with(acme.runtime, Scope.CLAIM))
    assert then(client, NOON)["needed_scope"] == "read"
