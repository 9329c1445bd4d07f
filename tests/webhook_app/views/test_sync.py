"""Sync with billing now: what the provider says this moment, while the caller waits."""

from __future__ import annotations

import threading
import time

import pytest
from flask.testing import FlaskClient

from domain.provider_errors import KeyRefused, PermanentError, TransientError
from domain.snapshot import AddonQuantity
from runtime.wiring import Runtime
from services.sync import on_demand
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.webhook_app.conftest import OpenDoor, RecordedWakeUps
from tests.webhook_app.setup_helpers import bought, opened, rows, run_sql

SYNC = "/v1/accounts/acme/sync"


@pytest.fixture(autouse=True)
def nobody_waits_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_demand, "CALL_TIMEOUT", 0.5)


def purchased(client: FlaskClient) -> int:
    return client.get("/v1/accounts/acme/seats").json["seats"]["full"]["purchased"]


def test_a_change_without_a_webhook_is_there_at_once(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime)
    assert purchased(client) == 5
    provider.subscriptions["sub_1"] = a_snapshot(seats=4)
    answer = client.post(SYNC)
    assert (answer.status_code, answer.json["changed"], answer.json["waiting"]) == (200, True, [])
    assert purchased(client) == 9


def test_a_change_without_a_webhook_is_shown_as_repaired_drift(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime)
    provider.subscriptions["sub_1"] = a_snapshot(seats=4)
    (found,) = client.post(SYNC).json["drift"]
    told = {name: found[name] for name in ("subject", "field", "ours", "theirs", "state", "likely_cause")}
    assert told == {
        "subject": "sub_1",
        "field": "addons",
        "ours": "no add-ons",
        "theirs": "4 x adn_seat",
        "state": "repaired",
        "likely_cause": "lost_webhook",
    }


def test_drift_repaired_before_the_call_is_not_shown_again(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime)
    provider.subscriptions["sub_1"] = a_snapshot(seats=4)
    client.post(SYNC)
    assert client.post(SYNC).json["drift"] == []


def test_where_both_agree_nothing_changes(client: FlaskClient, runtime: Runtime, provider: FakeProvider):
    bought(runtime)
    provider.subscriptions["sub_1"] = a_snapshot()
    assert client.post(SYNC).json == {"changed": False, "drift": [], "waiting": []}


def test_every_subscription_of_the_account_is_synced(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    for subscription_id in ("sub_1", "sub_2"):
        bought(runtime, subscription_id=subscription_id)
        provider.subscriptions[subscription_id] = a_snapshot(subscription_id)
    client.post(SYNC)
    assert sorted(provider.retrieved) == ["sub_1", "sub_2"]


def test_an_uncountable_subscription_is_shown_as_drift(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime)
    provider.subscriptions["sub_1"] = a_snapshot(addons=(AddonQuantity("adn_new", 1),))
    answer = client.post(SYNC)
    held = [one for one in answer.json["drift"] if one["state"] == "held"]
    assert [(one["subject"], one["kind"]) for one in held] == [("sub_1", "unknown_addon")]
    assert held[0]["held_because"] == held[0]["message"]
    assert purchased(client) == 5


def test_an_unreachable_provider_is_202_with_the_reason_and_a_wake_up(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider, wake_ups: RecordedWakeUps
):
    bought(runtime)
    provider.failing = TransientError("Dodo Payments did not answer.")
    answer = client.post(SYNC)
    waiting = [{"subscription_id": "sub_1", "reason": "Dodo Payments did not answer.", "dead": False}]
    assert (answer.status_code, answer.json["waiting"]) == (202, waiting)
    assert wake_ups.woken == ["sub_1"]


def test_a_provider_that_refuses_is_not_waited_for(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime)
    provider.failing = PermanentError("The key may not read.")
    answer = client.post(SYNC)
    assert (answer.status_code, answer.json["waiting"][0]["reason"]) == (202, "The key may not read.")
    assert provider.retrieved == ["sub_1"]


def test_a_dead_subscription_is_shown_as_dead_and_gets_no_wake_up(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider, wake_ups: RecordedWakeUps
):
    bought(runtime)
    run_sql(runtime, "UPDATE subscriptions SET refused_since = now() - interval '1 day'")
    provider.failing = PermanentError("The key may not read.")
    answer = client.post(SYNC)
    waiting = [{"subscription_id": "sub_1", "reason": "The key may not read.", "dead": True}]
    assert (answer.status_code, answer.json["waiting"]) == (202, waiting)
    assert wake_ups.woken == []


def test_a_sync_request_retries_a_dead_subscription(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime)
    provider.failing = PermanentError("The key may not read.")
    client.post(SYNC)
    provider.failing = None
    provider.subscriptions["sub_1"] = a_snapshot(seats=4)
    answer = client.post(SYNC)
    assert (answer.status_code, answer.json["waiting"]) == (200, [])
    assert purchased(client) == 9


def test_a_sync_that_started_earlier_does_not_count(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    """It may have seen the state before the change that the caller knows of."""
    bought(runtime)
    provider.subscriptions["sub_1"] = a_snapshot(seats=4)
    run_sql(runtime, "UPDATE subscriptions SET hint = hint + 1, lease_until = now() + interval '0.2 seconds'")
    assert client.post(SYNC).json["changed"] is True
    assert provider.retrieved == ["sub_1"]


def test_concurrent_callers_share_their_syncs(
    open_door: OpenDoor, runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(on_demand, "CALL_TIMEOUT", 60)  # six at once take time on a busy machine
    bought(runtime)
    provider.subscriptions["sub_1"] = a_snapshot(seats=4)
    clients = [open_door() for _ in range(6)]
    told: list[int] = []
    threads = [
        threading.Thread(target=lambda one=one: told.append(one.post(SYNC).status_code)) for one in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [200] * 6
    assert len(provider.retrieved) <= 6
    assert rows(runtime, "SELECT synced = hint FROM subscriptions") == [True]


def test_an_account_without_subscriptions_has_nothing_to_wait_for(client: FlaskClient, runtime: Runtime):
    opened(runtime, "acme")
    assert client.post(SYNC).json == {"changed": False, "drift": [], "waiting": []}


def test_an_account_nobody_knows_is_404(client: FlaskClient):
    assert client.post(SYNC).json["code"] == "account_not_found"


def test_a_refused_api_key_is_reported_at_once_with_advice(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(on_demand, "CALL_TIMEOUT", 60.0)
    bought(runtime)
    provider.failing = KeyRefused("The key is not known. Check it.")
    began = time.monotonic()
    answer = client.post(SYNC)
    assert time.monotonic() - began < 30
    assert answer.status_code == 202
    assert [one["reason"] for one in answer.json["waiting"]] == ["The key is not known. Check it."]
