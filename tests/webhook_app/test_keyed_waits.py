"""Under an `Idempotency-Key`: a call that waits holds no transaction, and "ask again" is never kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from domain.provider_errors import TransientError
from domain.snapshot import SubscriptionSnapshot
from models.database import connect, session_factory
from providers.base import Event, Priority
from runtime.wiring import Runtime
from services.purchases import refresh
from services.sync import on_demand
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.webhook_app.conftest import OpenDoor
from tests.webhook_app.setup_helpers import bought, rows, run_sql
from tests.webhook_app.views.test_operators import dead
from webhook_app.slow_calls import MAX_WAITING_CALLS

KEY = {"Idempotency-Key": "k"}
PREVIEW = ("/v1/accounts/acme/seat-changes/preview", {"seats": {"full": 9}})
SYNC = ("/v1/accounts/acme/sync", None)


class HangingProvider(FakeProvider):
    """Answers a retrieve only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def retrieve(
        self, subscription_id: str, *, priority: Priority = Priority.WEBHOOK
    ) -> SubscriptionSnapshot:
        self.asked.set()
        assert self.may_answer.wait(20)
        return super().retrieve(subscription_id, priority=priority)


@contextmanager
def under_way(call: Callable[[], Any], provider: HangingProvider) -> Iterator[None]:
    priority = threading.Thread(target=call)
    priority.start()
    assert provider.asked.wait(10)
    try:
        yield
    finally:
        provider.may_answer.set()
        priority.join()


def transactions(runtime: Runtime) -> int:
    """How many are open, but for the one that asks."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL "
        "AND pid <> pg_backend_pid()"
    )
    return len(rows(runtime, query))


@pytest.mark.parametrize(("path", "body"), [SYNC, PREVIEW])
def test_a_keyed_call_that_waits_holds_no_transaction(
    runtime: Runtime, open_door: OpenDoor, path: str, body: Any
):
    provider = HangingProvider()
    provider.subscriptions["sub_1"] = a_snapshot()
    bought(runtime)
    client = open_door(replace(runtime, provider=provider))
    with under_way(lambda: client.post(path, json=body, headers=KEY), provider):
        assert transactions(runtime) == 0


@pytest.fixture(autouse=True)
def nobody_waits_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_demand, "CALL_TIMEOUT", 0.3)
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)


@pytest.mark.parametrize(("path", "body"), [SYNC, PREVIEW])
def test_a_response_that_asks_for_a_retry_is_not_stored(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider, path: str, body: Any
):
    bought(runtime)
    provider.failing = TransientError("The provider is away.")
    answer = client.post(path, json=body, headers=KEY)
    assert answer.status_code in {202, 503}
    assert answer.headers["Retry-After"]
    assert rows(runtime, "SELECT key FROM idempotency_keys") == []


def test_a_sync_under_the_same_key_finds_what_has_come_since(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime)
    provider.failing = TransientError("The provider is away.")
    assert client.post(SYNC[0], headers=KEY).status_code == 202
    provider.failing, provider.subscriptions["sub_1"] = None, a_snapshot(seats=4)
    run_sql(runtime, "UPDATE subscriptions SET next_at = now(), lease_until = NULL")
    answers = [client.post(SYNC[0], headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].data == answers[1].data


@pytest.mark.parametrize("headers", [{}, KEY], ids=["without a key", "with a key"])
def test_a_replay_takes_one_connection(
    runtime: Runtime, provider: FakeProvider, open_door: OpenDoor, headers: dict[str, str]
):
    number = dead(runtime)
    provider.events[b"msg_1"] = Event(
        type="subscription.updated", subscription_id="sub_1", concerns_seats=True
    )
    url = runtime.engine.url.render_as_string(hide_password=False)
    engine = connect(url, pool_size=1)
    engine.pool._max_overflow = 0
    engine.pool._timeout = 1
    client = open_door(replace(runtime, engine=engine, sessions=session_factory(engine)))
    assert client.post(f"/v1/inbox/{number}/replay", headers=headers).status_code == 200
    engine.dispose()


# The limit for slow calls.


CHECKOUT = ("/v1/accounts/acme/checkout", {"product_id": "pdt_team", "second_subscription": True})
CONFIRM = ("/v1/accounts/acme/seat-changes", {"token": "sct_none"})


@pytest.fixture
def full_room(client: FlaskClient) -> Iterator[None]:
    """As many calls wait already as may."""
    slow_calls = client.application.extensions["seatsync"].slow_calls
    taken = 0
    while slow_calls._free.acquire(blocking=False):
        taken += 1
    yield
    slow_calls._free.release(taken)


@pytest.mark.parametrize(("path", "body"), [PREVIEW, CONFIRM, CHECKOUT])
@pytest.mark.usefixtures("full_room")
def test_without_a_place_to_wait_nothing_is_sent(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider, path: str, body: Any
):
    bought(runtime)
    answer = client.post(path, json=body, headers=KEY)
    assert (answer.status_code, answer.json["code"]) == (503, "too_many_waiting")
    assert int(answer.headers["Retry-After"]) >= 1
    assert provider.retrieved == []


@pytest.mark.usefixtures("full_room")
@pytest.mark.parametrize(("subscription_id", "status"), [("sub_1", 200), ("sub_never_seen", 503)])
def test_without_a_place_to_wait_a_link_is_made_if_the_provider_need_not_be_asked(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider, subscription_id: str, status: int
):
    bought(runtime)
    assert client.put(f"/v1/accounts/acme/subscriptions/{subscription_id}").status_code == status
    assert provider.retrieved == []


@pytest.mark.usefixtures("full_room")
def test_without_a_place_to_wait_a_sync_is_left_to_the_workers(
    client: FlaskClient, runtime: Runtime, provider: FakeProvider
):
    bought(runtime)
    answer = client.post(SYNC[0])
    assert (answer.status_code, len(answer.json["waiting"])) == (202, 1)
    assert provider.retrieved == []
    assert rows(runtime, "SELECT id FROM subscriptions WHERE hint > synced") == ["sub_1"]


def test_a_place_is_free_again_after_a_call_that_failed(client: FlaskClient, runtime: Runtime):
    bought(runtime)
    answers = [client.post(CONFIRM[0], json=CONFIRM[1]) for _ in range(MAX_WAITING_CALLS + 1)]
    assert {answer.json["code"] for answer in answers} == {"seat_change_not_found"}
