"""`seats?at=TIME`: the document as it was, from the audit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from runtime.wiring import Runtime
from services.ledger import links
from tests.acme import DAY, Acme
from tests.clock import Clock
from tests.factories import NOON, a_cause
from tests.webhook_app.conftest import OpenDoor

SEATS = "/v1/accounts/acme/seats"
# What no audit row tells.
UNKNOWN = {"version": None, "verified_at": None, "source": "audit"}
NO_DATES = {"cancel_at_next_billing_date": None, "next_billing_date": None}


@pytest.fixture
def acme(clocked_runtime: Runtime, clock: Clock) -> Acme:
    return Acme(clocked_runtime, clock)


@pytest.fixture
def client(open_door: OpenDoor, acme: Acme) -> FlaskClient:
    return open_door(acme.runtime)


def then(client: FlaskClient, moment: datetime) -> dict[str, Any]:
    return client.get(SEATS, query_string={"at": moment.isoformat()}).json


def as_the_audit_knows_it(document: dict[str, Any]) -> dict[str, Any]:
    """The same document without what no audit row tells."""
    subscriptions = [{**one, **NO_DATES} for one in document["subscriptions"]]
    return {**document, **UNKNOWN, "subscriptions": subscriptions}


def test_at_each_time_it_is_what_was_shown_then(client: FlaskClient, acme: Acme):
    steps = [
        lambda: acme.buys("grace", 3),
        lambda: acme.seats("a", "b", "c", "d"),
        lambda: acme.seats("e", hold=True),
        lambda: acme.gets_webhook_during_outage(quantity=9),
        lambda: acme.changes(status="on_hold"),
        lambda: acme.sets_policy(policy="soft"),
        lambda: acme.changes(status="active", quantity=1),
        lambda: acme.releases("a"),
        lambda: acme.buys("strict", 2, status="cancelled"),
    ]
    shown = []
    for step in steps:
        step()
        acme.runtime.redis.flushdb()
        shown.append(client.get(SEATS).json)
        acme.clock.advance(timedelta(hours=1))
    for document in shown:
        moment = datetime.fromisoformat(document["as_of"])
        assert then(client, moment) == as_the_audit_knows_it(document)
        assert then(client, moment + timedelta(minutes=59))["seats"] == document["seats"]
    assert len({str(document["seats"]) for document in shown}) == 8


def test_a_row_counts_from_its_own_moment_on(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    acme.clock.advance(DAY)
    acme.seats("a")
    a_moment_before = NOON + DAY - timedelta(microseconds=1)
    assert [then(client, at)["seats"]["full"]["used"] for at in (a_moment_before, NOON + DAY)] == [0, 1]


def test_a_subscription_is_shown_where_it_was(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    acme.clock.advance(DAY)
    with acme.runtime.transaction() as session:
        links.link(session, "other", "sub_1", acme.runtime.catalog, a_cause())
    acme.clock.advance(DAY)
    assert [len(then(client, NOON + n * DAY)["subscriptions"]) for n in (0, 1, 2)] == [1, 0, 0]
    other = client.get(f"/v1/accounts/other/seats?at={NOON + DAY:%Y-%m-%dT%H:%M:%SZ}").json
    assert [one["subscription_id"] for one in other["subscriptions"]] == ["sub_1"]


def test_the_past_has_no_etag_and_never_is_304(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    answer = client.get(f"{SEATS}?at=2026-11-22T12:00:00Z", headers={"If-None-Match": "*"})
    assert (answer.status_code, "ETag" in answer.headers) == (200, False)


def test_the_past_leaves_the_cache_alone(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    then(client, NOON)
    assert client.get(SEATS).json["source"] == "database"


def test_before_its_first_row_nothing_is_known_of_an_account(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    answer = client.get(f"{SEATS}?at=2026-11-22T11:59:59Z")
    assert (answer.status_code, answer.json["code"]) == (404, "not_known_then")
    assert answer.json["known_since"] == "2026-11-22T12:00:00.000000Z"


def test_an_unknown_account_was_never_known(client: FlaskClient):
    answer = client.get("/v1/accounts/nobody/seats?at=2026-11-22T12:00:00Z")
    assert (answer.status_code, answer.json["code"]) == (404, "account_not_found")


@pytest.mark.parametrize(
    ("at", "problem"),
    [
        ("2026-11-22T12:00:01Z", "is in the future"),
        ("2026-11-22T12:00:00", "with an offset"),
        ("2026-11-22T12:00:00+01:00", "write + as %2B"),
        ("2026-11-22", "with an offset"),
        ("20261122", "with an offset"),
        ("2026-13-22T12:00:00Z", "no time that exists: check month, day"),
        ("2026-02-30T12:00:00Z", "no time that exists"),
        ("2026-11-22T25:00:00Z", "no time that exists"),
        ("2026-11-22T12:00:00%2B99:00", "no time that exists"),
        ("0000-11-22T12:00:00Z", "no time that exists"),
        ("1969-12-31T23:59:59Z", "1970"),
        ("", "with an offset"),
    ],
)
def test_a_time_that_is_none_is_422_and_says_why(client: FlaskClient, acme: Acme, at: str, problem: str):
    acme.buys("strict", 3)
    answer = client.get(f"{SEATS}?at={at}")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, "at")
    assert problem in answer.json["detail"]


def test_other_offsets_name_the_same_moment(client: FlaskClient, acme: Acme):
    acme.buys("strict", 3)
    answer = client.get(f"{SEATS}?at=2026-11-22T13:00:00%2B01:00")
    assert answer.json == then(client, NOON)
