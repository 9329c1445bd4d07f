"""Reading seats: the document as the contract has it, from the cache or without one."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis
from flask.testing import FlaskClient
from sqlalchemy import text

from models import inbox, sync_queue
from runtime.wiring import Runtime
from services.ledger import links, unverified_webhooks
from services.ledger.can_add import may_add
from tests.factories import CATALOG_TEXT, a_cause, a_snapshot, an_arrival, parse_once
from tests.webhook_app.setup_helpers import bought, claimed


def test_the_seats_document_has_the_contracts_fields(client: FlaskClient, runtime: Runtime):
    bought(runtime, seats=10)
    claimed(runtime, "ada", "bob")
    document = client.get("/v1/accounts/acme/seats").json
    assert document.pop("as_of") > document.pop("verified_at")
    assert document == {
        "account_id": "acme",
        "status": "ok",
        "policy": "strict",
        "version": 3,
        "seats": {
            "full": {
                "policy": "strict",
                "purchased": 15,
                "included": 5,
                "addon": 10,
                "contract": 0,
                "active": 2,
                "held": 0,
                "used": 2,
                "available": 13,
                "overage": 0,
            },
            "viewer": {
                "policy": "strict",
                "purchased": 0,
                "included": 0,
                "addon": 0,
                "contract": 0,
                "active": 0,
                "held": 0,
                "used": 0,
                "available": 0,
                "overage": 0,
            },
        },
        "subscriptions": [
            {
                "subscription_id": "sub_1",
                "status": "active",
                "product_id": "pdt_team",
                "cancel_at_next_billing_date": False,
                "next_billing_date": "2026-12-12T00:00:00Z",
            }
        ],
        "deadline": None,
        "stale": False,
        "source": "database",
    }


def test_the_second_reader_is_served_from_the_cache(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    assert client.get("/v1/accounts/acme/seats").json["source"] == "database"
    assert client.get("/v1/accounts/acme/seats").json["source"] == "cache"


def test_a_change_is_seen_by_the_next_reader(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    client.get("/v1/accounts/acme/seats")
    claimed(runtime, "ada")
    assert client.get("/v1/accounts/acme/seats").json["seats"]["full"]["used"] == 1


def test_the_subscriptions_address_shows_its_account(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    for _ in range(2):
        assert client.get("/v1/subscriptions/sub_1/seats").json["account_id"] == "acme"


def test_unlimited_is_shown_as_a_word(client: FlaskClient, runtime: Runtime):
    bought(runtime, product_id="pdt_unlimited")
    full = client.get("/v1/accounts/acme/seats").json["seats"]["full"]
    assert (full["purchased"], full["available"]) == ("unlimited", "unlimited")


def test_a_matching_etag_gets_304(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    etag = client.get("/v1/accounts/acme/seats").headers["ETag"]
    again = client.get("/v1/accounts/acme/seats", headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("form", ["*", '"x", {}', '{} , W/"0"', "strong {}"])
def test_an_etag_is_known_in_every_form_of_the_header(client: FlaskClient, runtime: Runtime, form: str):
    bought(runtime)
    etag = client.get("/v1/accounts/acme/seats").headers["ETag"]
    if form.startswith("strong"):
        form, etag = form.removeprefix("strong "), etag.removeprefix("W/")
    known = {"If-None-Match": form.format(etag)}
    assert client.get("/v1/accounts/acme/seats", headers=known).status_code == 304


def test_another_account_of_the_same_version_is_another_document(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    etag = client.get("/v1/subscriptions/sub_1/seats").headers["ETag"]
    client.put("/v1/accounts/other/subscriptions/sub_1")
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE accounts SET version = 1"))
    runtime.redis.flushdb()
    moved = client.get("/v1/subscriptions/sub_1/seats", headers={"If-None-Match": etag})
    assert (moved.status_code, moved.json["account_id"]) == (200, "other")


@pytest.mark.parametrize(
    "path", ["/v1/accounts/acme/seats?on=2026-01-01", "/v1/subscriptions/sub_1/seats?at=2026-01-01T00:00:00Z"]
)
def test_an_unknown_query_parameter_is_refused(client: FlaskClient, runtime: Runtime, path: str):
    bought(runtime)
    answer = client.get(path)
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, path.partition("?")[2][:2])


def test_a_change_makes_a_new_etag(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    etag = client.get("/v1/accounts/acme/seats").headers["ETag"]
    claimed(runtime, "ada")
    assert client.get("/v1/accounts/acme/seats", headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/accounts/nobody/seats", "/v1/subscriptions/sub_nobody/seats"])
def test_who_is_not_known_is_404_with_a_code(client: FlaskClient, path: str):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"
    assert answer.json["code"] in {"account_not_found", "subscription_not_found"}


def test_without_redis_the_answer_comes_from_the_database(
    client: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    bought(runtime)

    def away(*args, **kwargs):
        raise redis.ConnectionError

    monkeypatch.setattr(runtime.redis, "execute_command", away)
    answer = client.get("/v1/accounts/acme/seats")
    assert (answer.status_code, answer.json["source"]) == (200, "database")


def test_figures_that_only_a_webhook_vouches_for_are_stale(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    with runtime.sessions.begin() as session:
        inbox.store(session, an_arrival())
        session.execute(text("UPDATE subscriptions SET next_at = now()"))
        lease = sync_queue.lease(session, ["sub_1"], timedelta(seconds=10))[0]
        unverified_webhooks.apply_unverified(session, lease, a_snapshot(seats=4), runtime.catalog, a_cause())
    document = client.get("/v1/accounts/acme/seats").json
    assert (document["seats"]["full"]["purchased"], document["stale"]) == (9, True)


def test_figures_unverified_for_two_periods_are_stale(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET verified_at = now() - interval '49 hours'"))
    assert client.get("/v1/accounts/acme/seats").json["stale"] is True


def test_figures_that_have_become_stale_have_another_etag(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    etag = client.get("/v1/accounts/acme/seats").headers["ETag"]
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET verified_at = now() - interval '49 hours'"))
    runtime.redis.flushdb()
    for _ in range(2):
        answer = client.get("/v1/accounts/acme/seats", headers={"If-None-Match": etag})
        assert (answer.status_code, answer.json["stale"]) == (200, True)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("role=member&count=5", (True, "granted", "full", 5)),
        ("role=member&count=6", (False, "no_seat_available", "full", 5)),
        ("role=viewer", (False, "no_seat_available", "viewer", 0)),
        ("role=client", (True, "free_role", None, None)),
    ],
)
def test_can_add_says_yes_or_no_and_why(client: FlaskClient, runtime: Runtime, asked: str, told: tuple):
    bought(runtime)
    document = client.get(f"/v1/accounts/acme/can-add?{asked}").json
    assert tuple(document[name] for name in ("allowed", "code", "seat_type", "available")) == told


@pytest.mark.parametrize(
    ("count", "advice"),
    [(7, "Buy 2 full seats more."), (8, "at most 7. Release members or change the plan.")],
)
def test_can_add_advises_no_more_seats_than_the_product_is_sold_with(
    runtime: Runtime, count: int, advice: str
):
    bought(runtime)
    catalog = parse_once(CATALOG_TEXT.replace('"Team"', '"Team"\nmaximum = { full = 7 }'))
    with runtime.sessions() as session:
        told = may_add(session, "acme", "member", count, catalog)
    assert told.decision.message.endswith(advice)


def test_can_add_while_suspended_is_refused_as_blocked(client: FlaskClient, runtime: Runtime):
    bought(runtime, status="paused")
    assert client.get("/v1/accounts/acme/can-add?role=member").json["code"] == "claims_blocked"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "invalid_request"),
        ("role=member&count=0", "invalid_request"),
        ("role=member&count=many", "invalid_request"),
        ("role=member&colour=red", "invalid_request"),
        ("role=wizard", "unknown_role"),
    ],
)
def test_a_bad_question_is_422_and_says_where(client: FlaskClient, runtime: Runtime, query: str, code: str):
    bought(runtime)
    answer = client.get(f"/v1/accounts/acme/can-add?{query}")
    assert (answer.status_code, answer.json["code"]) == (422, code)


def test_an_extra_slash_does_not_reach_another_account(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    assert client.get("/v1/accounts/%2Facme/seats").status_code == 404


@pytest.mark.parametrize(
    "nonsense",
    [
        b"x",
        b"nonsense that is no version",
        b"\xff" * 30,
        b"%020d" % 7 + b"nonsense",
        b"%020d" % 7 + b'{"account_id":"other","status":"ok"}',
        b"%020d" % 7 + b'{"account_id":"acme","status":"o',
    ],
)
def test_nonsense_in_the_cache_is_a_miss(client: FlaskClient, runtime: Runtime, nonsense: bytes):
    bought(runtime)
    runtime.redis.set(runtime.cache._key("seats", "acme"), nonsense)
    assert client.get("/v1/accounts/acme/seats").json["source"] == "database"


def test_nonsense_about_a_subscription_is_a_miss(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    runtime.redis.set(runtime.cache._key("account-of", "sub_1"), b"\xff")
    assert client.get("/v1/subscriptions/sub_1/seats").json["account_id"] == "acme"


def test_a_moved_subscription_is_found_in_its_new_account(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    client.get("/v1/subscriptions/sub_1/seats")
    with runtime.transaction() as session:
        links.link(session, "other", "sub_1", runtime.catalog, a_cause())
    assert client.get("/v1/subscriptions/sub_1/seats").json["account_id"] == "other"
