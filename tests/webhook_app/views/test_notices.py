"""Notices over HTTP: where they go, what became of them, and once more."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from domain.notices import Notice, NoticeType
from models import notice, notice_endpoint
from models.api_key import Scope
from runtime.wiring import Runtime
from services.notices.delivery import notify
from tests.receiver import Receiver
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, claimed, key_with, opened, rows, run_sql

PUBLIC = "https://93.184.216.34/notices"


@pytest.fixture
def private(runtime: Runtime) -> Runtime:
    """A service that may send to this machine."""
    values = {name: getattr(runtime, name) for name in Runtime.__slots__}
    allowed = runtime.settings.model_copy(update={"notices_allow_private": True})
    return Runtime(**{**values, "settings": allowed})


def register(client: FlaskClient, url: str = PUBLIC, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/notice-endpoints", json={"url": url, **more})
    assert answer.status_code == 201, answer.json
    return answer.json


def said(runtime: Runtime, *types: NoticeType, account_id: str | None = None) -> None:
    with runtime.sessions.begin() as session:
        notice.add(session, account_id, [Notice(wanted, {"used": 1}) for wanted in types])


def test_an_endpoint_gets_a_secret_that_is_shown_once(client: FlaskClient):
    made = register(client)
    assert made["secret"].startswith("whsec_")
    (listed,) = client.get("/v1/notice-endpoints").json["endpoints"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert (listed["url"], listed["types"], listed["disabled_at"]) == (PUBLIC, None, None)


def test_an_endpoint_may_want_some_types_alone(client: FlaskClient):
    made = register(client, types=["seat.blocked", "seat.restored", "seat.blocked"])
    assert made["types"] == ["seat.blocked", "seat.restored"]


def test_a_repeat_under_one_key_shows_the_same_secret(client: FlaskClient):
    headers = {"Idempotency-Key": "k"}
    answers = [client.post("/v1/notice-endpoints", json={"url": PUBLIC}, headers=headers) for _ in range(2)]
    assert answers[0].data == answers[1].data


def test_a_url_has_one_endpoint(client: FlaskClient):
    register(client)
    answer = client.post("/v1/notice-endpoints", json={"url": PUBLIC})
    assert (answer.status_code, answer.json["code"]) == (409, "endpoint_exists")


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/",
        "https://user:secret@93.184.216.34/",
        "mailto:somebody",
    ],
)
def test_a_url_we_would_not_send_to_is_422_with_the_reason(client: FlaskClient, url: str):
    answer = client.post("/v1/notice-endpoints", json={"url": url})
    assert (answer.status_code, answer.json["code"]) == (422, "url_refused")
    assert answer.json["detail"].startswith("The URL")
    assert "secret" not in answer.json["detail"]


def test_private_addresses_are_taken_where_the_operator_allows_them(open_door: OpenDoor, private: Runtime):
    register(open_door(private), "http://127.0.0.1:9000/notices")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": 7},
        {"url": "https://93.184.216.34/" + "x" * 2_000},
        {"url": PUBLIC, "types": []},
        {"url": PUBLIC, "types": ["seat.melted"]},
        {"url": PUBLIC, "secret": "whsec_mine"},
    ],
)
def test_a_body_that_is_none_is_422(client: FlaskClient, body: dict[str, Any]):
    answer = client.post("/v1/notice-endpoints", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")


def test_a_rotation_shows_another_secret(client: FlaskClient):
    made = register(client)
    rotated = client.post(f"/v1/notice-endpoints/{made['endpoint_id']}/rotate").json
    assert rotated["secret"] not in ("", made["secret"])
    assert rotated["rotated_at"] is not None


def test_a_disabled_endpoint_is_enabled_again_and_gets_what_is_said_from_then_on(
    client: FlaskClient, runtime: Runtime
):
    path = f"/v1/notice-endpoints/{register(client)['endpoint_id']}"
    with runtime.sessions.begin() as session:
        notice_endpoint.disable(session, path.rpartition("/")[2])
    said(runtime, NoticeType.BLOCKED)
    for _ in range(2):
        enabled = client.post(f"{path}/enable")
        assert (enabled.status_code, enabled.json["disabled_at"]) == (200, None)
        assert "secret" not in enabled.json
    said(runtime, NoticeType.BLOCKED)
    assert len(rows(runtime, "SELECT id FROM notice_deliveries")) == 1


def test_what_is_not_there_cannot_be_enabled(client: FlaskClient):
    answer = client.post("/v1/notice-endpoints/ep_none/enable")
    assert (answer.status_code, answer.json["code"]) == (404, "endpoint_not_found")


def test_what_is_not_there_cannot_be_rotated(client: FlaskClient):
    answer = client.post("/v1/notice-endpoints/ep_none/rotate")
    assert (answer.status_code, answer.json["code"]) == (404, "endpoint_not_found")


def test_a_deleted_endpoint_is_gone_with_what_waited_for_it(client: FlaskClient, runtime: Runtime):
    path = f"/v1/notice-endpoints/{register(client)['endpoint_id']}"
    said(runtime, NoticeType.BLOCKED)
    assert [client.delete(path).json["deleted"] for _ in range(2)] == [True, False]
    assert client.get("/v1/notice-endpoints").json == {"endpoints": []}
    assert rows(runtime, "SELECT id FROM notice_deliveries") == []


def test_notices_are_listed_newest_first_with_their_deliveries(client: FlaskClient, runtime: Runtime):
    made = register(client)
    opened(runtime, "acme")
    said(runtime, NoticeType.GRACE_STARTED, account_id="acme")
    said(runtime, NoticeType.DRIFT_FOUND)
    newest, oldest = client.get("/v1/notices").json["notices"]
    assert (newest["type"], newest["account_id"]) == ("drift.found", None)
    assert (oldest["type"], oldest["account_id"], oldest["data"]) == (
        "seat.grace_started",
        "acme",
        {"used": 1},
    )
    (delivery,) = oldest["deliveries"]
    assert (delivery["endpoint_id"], delivery["state"], delivery["attempts"]) == (
        made["endpoint_id"],
        "pending",
        0,
    )


def test_dead_letters_are_found_by_state_page_by_page(client: FlaskClient, runtime: Runtime):
    register(client)
    said(runtime, *[NoticeType.BLOCKED] * 3)
    run_sql(runtime, "UPDATE notice_deliveries SET state = 'dead', last_error = 'answered 500'")
    said(runtime, NoticeType.RESTORED)
    found, cursor = [], ""
    while cursor is not None:
        page = client.get(f"/v1/notices?state=dead&limit=2{cursor and f'&cursor={cursor}'}").json
        found += page["notices"]
        cursor = page["next_cursor"]
    assert [one["type"] for one in found] == ["seat.blocked"] * 3
    assert found[0]["deliveries"][0]["last_error"] == "answered 500"
    assert found[0]["deliveries"][0]["next_at"] is None


def test_notices_are_found_by_account(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme", "other")
    for account_id in ("acme", "other"):
        said(runtime, NoticeType.BLOCKED, account_id=account_id)
    (found,) = client.get("/v1/notices?account_id=acme").json["notices"]
    assert found["account_id"] == "acme"


def test_a_dead_letter_can_be_resent(client: FlaskClient, runtime: Runtime):
    register(client)
    said(runtime, NoticeType.BLOCKED)
    run_sql(runtime, "UPDATE notice_deliveries SET state = 'dead', last_error = 'answered 500', attempts = 9")
    (number,) = rows(runtime, "SELECT id FROM notices")
    answer = client.post(f"/v1/notices/{number}/resend")
    assert (answer.status_code, answer.json) == (200, {"id": number, "deliveries": 1})
    assert rows(runtime, "SELECT state FROM notice_deliveries") == ["pending"]


def test_a_notice_can_be_sent_to_an_endpoint_that_came_later(client: FlaskClient, runtime: Runtime):
    said(runtime, NoticeType.BLOCKED)
    (number,) = rows(runtime, "SELECT id FROM notices")
    assert client.post(f"/v1/notices/{number}/resend").json["code"] == "not_resendable"
    register(client)
    assert client.post(f"/v1/notices/{number}/resend").json["deliveries"] == 1


def test_a_notice_that_is_not_there_is_404(client: FlaskClient):
    answer = client.post("/v1/notices/7/resend")
    assert (answer.status_code, answer.json["code"]) == (404, "notice_not_found")


@pytest.mark.parametrize("query", ["state=lost", "cursor=x", "limit=0", "account_id=", "colour=red"])
def test_a_bad_question_is_422(client: FlaskClient, query: str):
    assert client.get(f"/v1/notices?{query}").status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/v1/notices"),
        ("get", "/v1/notice-endpoints"),
        ("post", "/v1/notice-endpoints"),
        ("delete", "/v1/notice-endpoints/ep_1"),
        ("post", "/v1/notice-endpoints/ep_1/rotate"),
        ("post", "/v1/notice-endpoints/ep_1/enable"),
        ("post", "/v1/notices/1/resend"),
    ],
)
def test_only_admins_may(open_door: OpenDoor, runtime: Runtime, method: str, path: str):
    key = key_with(runtime, Scope.READ, Scope.CLAIM, Scope.BILLING)
    assert open_door(key=key).open(path, method=method).status_code == 403


def test_from_the_last_seat_to_the_app(open_door: OpenDoor, private: Runtime):
    """The whole way: a claim takes the last seat, and the app hears of it."""
    bought(private)
    with Receiver() as receiver:
        made = register(open_door(private), receiver.url)
        claimed(private, *(f"user-{number}" for number in range(5)))
        notify(private)
        (arrived,) = receiver.arrived
    told = arrived.verified(made["secret"])
    assert told["type"] == "seat.limit_reached"
    assert (told["data"]["account_id"], told["data"]["purchased"], told["data"]["available"]) == (
        "acme",
        5,
        0,
    )
    assert "user-4" not in arrived.body.decode()
