"""Health: alive, ready, and the figures behind it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

import migrations
from domain import findings
from domain.errors import PoolerMisused
from models import drift_finding, inbox, installation, row_count
from models.database import connect
from models.inbox import InboxState
from runtime import schema
from runtime.wiring import Runtime
from tests.factories import a_catalog, an_arrival
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, claimed, run_sql
from worker.housekeeping import housekeep


@pytest.fixture
def no_database(runtime: Runtime) -> Iterator[None]:
    runtime.sessions.configure(bind=connect("postgresql://nobody@127.0.0.1:9/nothing"))
    yield
    runtime.sessions.configure(bind=runtime.engine)


def test_with_the_database_of_another_mode_it_is_not_ready(anyone: FlaskClient, runtime: Runtime):
    with runtime.sessions.begin() as session:
        installation.current(session).environment = "live_mode"
    answer = anyone.get("/readyz")
    assert (answer.status_code, answer.json["database"]) == (503, "not_ours")
    assert "belongs to live_mode" in answer.json["detail"]


def test_behind_a_pooler_that_loses_locks_it_is_not_ready(
    anyone: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_session: object) -> str:
        raise PoolerMisused("The database is reached through a connection pooler.")

    monkeypatch.setattr(schema, "revision_of", refuse)
    answer = anyone.get("/readyz")
    assert (answer.status_code, answer.json["database"]) == (503, "pooler_misused")


def with_broker(runtime: Runtime, url: str) -> Runtime:
    return replace(runtime, settings=runtime.settings.model_copy(update={"celery_broker_url": url}))


def kept(runtime: Runtime, event_id: str = "msg_1", **facts) -> None:
    with runtime.sessions.begin() as session:
        inbox.store(session, an_arrival(event_id, **facts))


# Alive.


def test_a_process_that_answers_is_alive(anyone: FlaskClient):
    answer = anyone.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


@pytest.mark.usefixtures("no_database")
def test_liveness_uses_no_other_server(anyone: FlaskClient):
    assert anyone.get("/healthz").status_code == 200


# Ready.


def test_with_everything_there_it_is_ready(anyone: FlaskClient):
    answer = anyone.get("/readyz")
    assert (answer.status_code, answer.json) == (
        200,
        {
            "status": "ready",
            "database": "ok",
            "schema": migrations.newest(),
            "generation": None,
            "evaluates": True,
            "broker": "ok",
            "oldest_unprocessed_seconds": 0.0,
            "longest_untouched_seconds": 0.0,
        },
    )


def test_a_process_whose_catalogue_was_replaced_is_outdated_and_says_so(
    runtime: Runtime, open_door: OpenDoor
):
    newer = replace(runtime, catalog=a_catalog("[free]\nincluded = { full = 1 }"))
    bought(runtime)
    bought(newer)
    older = open_door(key=None).get("/readyz")
    assert (older.status_code, older.json["status"], older.json["evaluates"]) == (200, "outdated", False)
    current = open_door(newer, key=None).get("/readyz").json
    assert (current["status"], current["evaluates"]) == ("ready", True)
    assert current["generation"] == older.json["generation"]


def test_an_outdated_process_still_takes_claims_by_the_rules_in_force(runtime: Runtime, open_door: OpenDoor):
    newer = replace(runtime, catalog=a_catalog("[free]\nincluded = { full = 1 }"))
    bought(runtime)
    bought(newer, seats=1)
    claimed(runtime, *"abcdef")
    claim = {"member_id": "g", "role": "member"}
    assert open_door().post("/v1/accounts/acme/claims", json=claim).json["code"] == "no_seat_available"


@pytest.mark.parametrize("revision", ["0001", None])
def test_on_a_database_that_is_not_migrated_it_is_not_ready(
    anyone: FlaskClient, monkeypatch: pytest.MonkeyPatch, revision: str | None
):
    monkeypatch.setattr(schema, "revision_of", lambda _: revision)
    answer = anyone.get("/readyz")
    assert (answer.status_code, answer.json["code"], answer.json["database"]) == (
        503,
        "not_ready",
        "not_migrated",
    )
    assert "seatsync migrate" in answer.json["detail"]


def test_a_newer_schema_is_no_obstacle(anyone: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schema, "revision_of", lambda _: "9999")
    assert anyone.get("/readyz").status_code == 200


@pytest.mark.usefixtures("no_database")
def test_without_the_database_it_is_not_ready(anyone: FlaskClient):
    begun = time.monotonic()
    answer = anyone.get("/readyz")
    assert time.monotonic() - begun < 1
    assert (answer.status_code, answer.json["code"], answer.json["database"]) == (503, "not_ready", "away")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0", "amqp://guest@127.0.0.1:9//"])
def test_without_the_broker_it_is_ready_and_says_so(runtime: Runtime, open_door: OpenDoor, url: str):
    begun = time.monotonic()
    answer = open_door(with_broker(runtime, url), key=None).get("/readyz")
    assert time.monotonic() - begun < 3
    assert (answer.status_code, answer.json["status"], answer.json["broker"]) == (200, "ready", "away")


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_does_not_respond_is_away(runtime: Runtime, open_door: OpenDoor, scheme: str):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/0"
        begun = time.monotonic()
        answer = open_door(with_broker(runtime, url), key=None).get("/readyz")
        assert time.monotonic() - begun < 5
    assert (answer.status_code, answer.json["broker"]) == (200, "away")


def test_readiness_shows_the_age_of_the_oldest_unprocessed_event(anyone: FlaskClient, runtime: Runtime):
    kept(runtime)
    kept(runtime, "msg_2")
    run_sql(runtime, "UPDATE inbox SET received_at = now() - interval '10 seconds' WHERE event_id = 'msg_1'")
    document = anyone.get("/readyz").json
    assert document["status"] == "ready"
    assert 10 <= document["oldest_unprocessed_seconds"] < 20


def test_an_event_that_has_waited_for_minutes_is_lagging(anyone: FlaskClient, runtime: Runtime):
    kept(runtime)
    run_sql(runtime, "UPDATE inbox SET received_at = now() - interval '301 seconds'")
    answer = anyone.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "lagging")


def due_for(runtime: Runtime, seconds: int, **columns: str) -> None:
    values = {"next_at": f"now() - interval '{seconds} seconds'", **columns}
    kept(runtime)
    run_sql(
        runtime,
        "UPDATE subscriptions SET " + ", ".join(f"{name} = {value}" for name, value in values.items()),
    )


def test_an_overdue_subscription_is_lagging_long_before_its_event_is_old(
    anyone: FlaskClient, runtime: Runtime
):
    due_for(runtime, 61)
    answer = anyone.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "lagging")
    assert 61 <= answer.json["longest_untouched_seconds"] < 70


UNREMARKABLE = {
    "due a moment ago": (50, {}),
    "waits out a pause": (-10, {}),
    "is being synced": (61, {"lease_until": "now() + interval '5 seconds'"}),
    "was being synced until a moment ago": (61, {"lease_until": "now() - interval '5 seconds'"}),
    "is due for the timer alone": (61, {"routine": "true"}),
    "is a dead letter": (61, {"dead_reason": "'gave up'"}),
    "is synced": (61, {"synced": "hint"}),
}


@pytest.mark.parametrize(("seconds", "columns"), UNREMARKABLE.values(), ids=UNREMARKABLE)
def test_a_subscription_leased_in_time_or_not_due_is_no_lag(
    anyone: FlaskClient, runtime: Runtime, seconds: int, columns: dict[str, str]
):
    due_for(runtime, seconds, **columns)
    assert anyone.get("/readyz").json["status"] == "ready"


def test_old_events_that_wait_for_nothing_are_no_lag(anyone: FlaskClient, runtime: Runtime):
    kept(runtime, state=InboxState.DEAD, reason="nobody could read it")
    run_sql(runtime, "UPDATE inbox SET received_at = now() - interval '1 day'")
    assert anyone.get("/readyz").json["status"] == "ready"


# Figures.


def figures(client: FlaskClient) -> dict[str, float]:
    """The samples of `/metrics`, as Prometheus reads them; a label's value stands behind the name."""
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def test_metrics_are_what_prometheus_scrapes(anyone: FlaskClient):
    assert anyone.get("/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_metrics_of_an_empty_service_are_zero(anyone: FlaskClient):
    assert figures(anyone) == {
        "seatsync_inbox_events/pending": 0,
        "seatsync_inbox_events/dead": 0,
        "seatsync_inbox_accepted_total": 0,
        "seatsync_inbox_ignored_total": 0,
        "seatsync_subscriptions_waiting": 0,
        "seatsync_subscriptions_dead": 0,
        "seatsync_oldest_unprocessed_seconds": 0,
        "seatsync_oldest_unverified_seconds": 0,
    }


def test_metrics_count_pending_and_failed_work(anyone: FlaskClient, runtime: Runtime):
    bought(runtime)
    bought(runtime, subscription_id="sub_2", metadata={"account_id": "asleep"}, status="paused")
    kept(runtime)
    kept(runtime, "msg_2", state=InboxState.IGNORED, reason="does not concern seats")
    run_sql(runtime, "UPDATE inbox SET received_at = now() - interval '10 seconds'")
    run_sql(runtime, "UPDATE subscriptions SET dead_reason = 'gave up' WHERE id = 'sub_2'")
    with runtime.sessions.begin() as session:
        drift_finding.record(session, "sub_1", [findings.unknown_status("melted")])
        row_count.count_accounts(session)
    found = figures(anyone)
    assert 10 <= found.pop("seatsync_oldest_unprocessed_seconds") < 20
    assert 0 < found.pop("seatsync_oldest_unverified_seconds") < 10
    assert found == {
        "seatsync_inbox_events/pending": 1,
        "seatsync_inbox_events/dead": 0,
        "seatsync_inbox_accepted_total": 2,
        "seatsync_inbox_ignored_total": 1,
        "seatsync_accounts/ok": 1,
        "seatsync_accounts/suspended": 1,
        "seatsync_subscriptions_waiting": 1,
        "seatsync_subscriptions_dead": 1,
        "seatsync_drift_findings/held": 1,
        "seatsync_drift_found_in_a_day/catalogue_change": 1,
    }


def test_deliveries_stay_counted_when_housekeeping_deletes_them(anyone: FlaskClient, runtime: Runtime):
    kept(runtime, "msg_1", state=InboxState.IGNORED, reason="does not concern seats")
    run_sql(runtime, "UPDATE inbox SET received_at = now() - interval '31 days'")
    kept(runtime, "msg_2")
    assert housekeep(runtime) == 1
    housekeep(runtime)
    found = figures(anyone)
    assert (found["seatsync_inbox_accepted_total"], found["seatsync_inbox_ignored_total"]) == (2, 1)


def test_deliveries_of_the_last_minute_are_counted_once(anyone: FlaskClient, runtime: Runtime):
    """Others with lower ids may still be committed."""
    kept(runtime, "msg_1")
    housekeep(runtime)
    kept(runtime, "msg_2")
    assert figures(anyone)["seatsync_inbox_accepted_total"] == 2


@pytest.mark.usefixtures("no_database")
def test_without_the_database_there_are_no_metrics(anyone: FlaskClient):
    answer = anyone.get("/metrics")
    assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
