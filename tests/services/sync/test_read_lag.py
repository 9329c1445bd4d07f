"""A retrieve may show less than the webhook that led to it: it is then repeated, once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.snapshot import AddonQuantity
from models.account import Account
from models.inbox import InboxEvent
from models.subscription import Subscription
from providers.base import Event
from runtime.wiring import Runtime
from services.sync.subscription import SyncOutcome, sync
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.test_subscription import (
    announced_long_ago,
    deliver,
    everything,
    seats_of,
    sync_now,
    the,
)

AFTER = {
    "more seats": {"seats": 20},
    "fewer seats": {"seats": 2},
    "another status": {"seats": 10, "status": "paused"},
    "another quantity": {"seats": 10, "quantity": 2},
    "another product": {"seats": 10, "product_id": "pdt_soft"},
    "other add-ons": {"addons": (AddonQuantity("adn_pack", 3),)},
}


def known(runtime: Runtime, provider: FakeProvider) -> None:
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    deliver(runtime, "msg_0")
    sync(runtime, "sub_1")
    provider.retrieved.clear()


def said(runtime: Runtime, provider: FakeProvider, event_id: str, **changes) -> None:
    provider.events[event_id.encode()] = Event(type="subscription.updated", snapshot=a_snapshot(**changes))
    deliver(runtime, event_id)


def sync_all_that_is_asked_for(runtime: Runtime) -> None:
    for _ in range(10):
        if sync_now(runtime) is SyncOutcome.NOTHING_DUE:
            return


@pytest.mark.parametrize("changes", AFTER.values(), ids=AFTER)
def test_a_read_that_lags_behind_its_webhook_is_repeated_once(
    runtime: Runtime, provider: FakeProvider, changes
):
    known(runtime, provider)
    said(runtime, provider, "msg_1", **changes)
    sync_now(runtime)
    provider.subscriptions["sub_1"] = newer = a_snapshot(**changes)
    sync_all_that_is_asked_for(runtime)
    assert the(runtime, Subscription).newest.addons == newer.addons
    assert the(runtime, Subscription).newest.status == newer.status
    assert len(provider.retrieved) == 2


def test_a_contradiction_that_stays_costs_one_further_retrieve(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    said(runtime, provider, "msg_1", seats=20)
    sync_all_that_is_asked_for(runtime)
    assert len(provider.retrieved) == 2
    assert seats_of(runtime) == 15


def test_the_repeat_waits_for_the_lag_to_pass(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    said(runtime, provider, "msg_1", seats=20)
    sync_now(runtime)
    assert sync(runtime, "sub_1") is SyncOutcome.NOTHING_DUE
    with runtime.sessions() as session:
        wait = session.scalar(text("SELECT next_at - now() FROM subscriptions"))
    assert timedelta(seconds=5) < wait <= timedelta(seconds=30)


@pytest.mark.parametrize(
    "changes",
    [{"seats": 10}, {"seats": 10, "metadata": {}}, {"addons": None}, {"seats": 10, "quantity": None}],
)
def test_a_body_that_does_not_contradict_costs_one_retrieve(
    runtime: Runtime, provider: FakeProvider, changes
):
    known(runtime, provider)
    said(runtime, provider, "msg_1", **changes)
    sync_all_that_is_asked_for(runtime)
    assert provider.retrieved == ["sub_1"]


def test_an_old_event_that_contradicts_is_history(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    said(runtime, provider, "msg_1", seats=20)
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE inbox SET received_at = now() - interval '61 seconds'"))
    sync_all_that_is_asked_for(runtime)
    assert provider.retrieved == ["sub_1"]


def test_of_a_burst_only_the_last_to_arrive_counts(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    for number in range(11):
        said(runtime, provider, f"msg_{number + 1}", seats=number)
    sync_all_that_is_asked_for(runtime)
    assert provider.retrieved == ["sub_1"]


# A subscription that was never seen.


def test_a_new_subscription_that_cannot_be_read_yet_is_retried(runtime: Runtime, provider: FakeProvider):
    deliver(runtime)
    assert sync(runtime, "sub_1") is SyncOutcome.POSTPONED
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    assert sync_now(runtime) is SyncOutcome.SYNCED
    assert seats_of(runtime) == 15
    assert [event.state for event in everything(runtime, InboxEvent)] == ["done"]


def test_while_a_new_subscription_cannot_be_read_its_webhook_gives_no_seats(
    runtime: Runtime, provider: FakeProvider
):
    said(runtime, provider, "msg_1", seats=50)
    sync(runtime, "sub_1")
    assert everything(runtime, Account) == []


def test_after_some_minutes_a_404_is_final(runtime: Runtime, provider: FakeProvider):
    deliver(runtime)
    sync(runtime, "sub_1")
    announced_long_ago(runtime)
    assert sync_now(runtime) is SyncOutcome.NOT_AT_PROVIDER


def test_a_subscription_that_no_webhook_announced_is_answered_at_once(runtime: Runtime):
    with runtime.sessions.begin() as session:
        session.execute(text("INSERT INTO subscriptions (id, hint) VALUES ('sub_1', 1)"))
    assert sync(runtime, "sub_1") is SyncOutcome.NOT_AT_PROVIDER


def test_a_subscription_that_was_seen_before_is_missing_at_once(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions.clear()
    deliver(runtime, "msg_1")
    assert sync_now(runtime) is SyncOutcome.NOT_AT_PROVIDER
