"""For operators: the inbox without its bodies, replays, and what does not agree."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from domain import findings
from models import drift_finding, inbox
from models.inbox import InboxState
from providers.base import Event
from runtime.wiring import Runtime
from tests.factories import an_arrival
from tests.fakes import FakeProvider
from tests.webhook_app.conftest import RecordedWakeUps
from tests.webhook_app.setup_helpers import rows


def kept(runtime: Runtime, event_id: str = "msg_1", **changes) -> int:
    """The row of an event kept some time ago."""
    with runtime.sessions.begin() as session:
        inbox.store(session, an_arrival(event_id, **changes))
    return rows(runtime, "SELECT max(id) FROM inbox")[0]


def dead(runtime: Runtime, event_id: str = "msg_1", **changes) -> int:
    return kept(runtime, event_id, state=InboxState.DEAD, reason="nobody could read it", **changes)


@pytest.fixture
def readable(provider: FakeProvider) -> None:
    """The provider has learnt to read the letter."""
    provider.events[b"msg_1"] = Event(
        type="subscription.updated", subscription_id="sub_1", concerns_seats=True
    )


def test_the_inbox_lists_the_newest_first_and_shows_no_body(client: FlaskClient, runtime: Runtime):
    kept(runtime, "msg_1")
    dead(runtime, "msg_2")
    events = client.get("/v1/inbox").json["events"]
    assert [(event["event_id"], event["state"]) for event in events] == [
        ("msg_2", "dead"),
        ("msg_1", "pending"),
    ]
    assert events[0]["reason"] == "nobody could read it"
    assert "body" not in events[0]


def test_dead_letters_are_found_by_state_page_by_page(client: FlaskClient, runtime: Runtime):
    for number in range(5):
        dead(runtime, f"msg_{number}")
    kept(runtime, "msg_alive")
    found, cursor = [], ""
    while cursor is not None:
        page = client.get(f"/v1/inbox?state=dead&limit=2{cursor and f'&cursor={cursor}'}").json
        found += [event["event_id"] for event in page["events"]]
        cursor = page["next_cursor"]
    assert found == [f"msg_{number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.usefixtures("readable")
def test_a_replay_requests_a_sync(client: FlaskClient, runtime: Runtime, wake_ups: RecordedWakeUps):
    number = dead(runtime)
    answer = client.post(f"/v1/inbox/{number}/replay")
    assert (answer.status_code, answer.json) == (200, {"id": number, "state": "pending"})
    assert rows(runtime, "SELECT id FROM subscriptions WHERE hint > synced") == ["sub_1"]
    assert wake_ups.woken == ["sub_1"]


@pytest.mark.usefixtures("readable")
def test_a_replay_under_a_key_tells_the_same_again(client: FlaskClient, runtime: Runtime):
    number, key = dead(runtime), {"Idempotency-Key": "k"}
    answers = [client.post(f"/v1/inbox/{number}/replay", headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].data == answers[1].data


def test_what_still_cannot_be_read_is_409(client: FlaskClient, runtime: Runtime):
    answer = client.post(f"/v1/inbox/{dead(runtime)}/replay")
    assert (answer.status_code, answer.json["code"]) == (409, "not_replayable")


def test_what_is_not_dead_is_409(client: FlaskClient, runtime: Runtime):
    answer = client.post(f"/v1/inbox/{kept(runtime)}/replay")
    assert (answer.status_code, answer.json["code"]) == (409, "not_replayable")


def test_what_is_not_there_is_404(client: FlaskClient):
    answer = client.post("/v1/inbox/7/replay")
    assert (answer.status_code, answer.json["code"]) == (404, "inbox_event_not_found")


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", str(2**63), "9" * 5_000])
def test_what_is_no_number_of_an_event_is_422(client: FlaskClient, number: str):
    answer = client.post(f"/v1/inbox/{number}/replay")
    assert (answer.status_code, answer.json["errors"][0]["where"]) == (422, "inbox_id")


def test_drift_lists_open_findings_oldest_first_page_by_page(client: FlaskClient, runtime: Runtime):
    with runtime.sessions.begin() as session:
        for number in range(3):
            drift_finding.record(session, f"sub_{number}", [findings.unknown_status("melted")])
        drift_finding.update_findings(session, "sub_1", ())
    first = client.get("/v1/drift?limit=1").json
    rest = client.get(f"/v1/drift?cursor={first['next_cursor']}").json
    shown = [*first["findings"], *rest["findings"]]
    assert [one["subject"] for one in shown] == ["sub_0", "sub_2"]
    assert (shown[0]["kind"], shown[0]["field"], shown[0]["theirs"]) == ("unknown_status", "status", "melted")


def test_drift_that_was_closed_is_shown_when_asked_for(client: FlaskClient, runtime: Runtime):
    with runtime.sessions.begin() as session:
        drift_finding.record(session, "sub_1", [findings.unknown_status("melted")])
        drift_finding.update_findings(session, "sub_1", ())
    assert client.get("/v1/drift").json["findings"] == []
    (shown,) = client.get("/v1/drift?state=agreed").json["findings"]
    assert (shown["subject"], shown["likely_cause"]) == ("sub_1", "catalogue_change")
    assert shown["closed_at"] is not None


@pytest.mark.parametrize(
    "path", ["/v1/drift?state=lost", "/v1/inbox?state=lost", "/v1/inbox?cursor=x", "/v1/drift?limit=0"]
)
def test_a_bad_question_is_422(client: FlaskClient, path: str):
    assert client.get(path).status_code == 422
