"""A batch of syncs: retrieves overlap, leases never wait for a thread, and nothing is lost on the way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.provider_errors import BudgetSpent
from domain.snapshot import SubscriptionSnapshot
from models import sync_queue
from models.subscription import Subscription
from providers.base import Priority
from runtime.wiring import Runtime
from services.sync import batch
from services.sync.batch import drain
from services.sync.subscription import LEASE, SyncOutcome, write
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.test_subscription import deliver, everything, seats_of
from tests.waiting import wait_until

PATIENCE = 30.0


class SlowProvider(FakeProvider):
    """Answers a retrieve once `expected` of them are under way, or once it is `opened`."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.under_way = 0
        self.opened = threading.Event()
        self._expected = expected
        self._lock = threading.Lock()

    def retrieve(
        self, subscription_id: str, *, priority: Priority = Priority.WEBHOOK
    ) -> SubscriptionSnapshot:
        with self._lock:
            self.under_way += 1
            if self.under_way == self._expected:
                self.opened.set()
        assert self.opened.wait(PATIENCE), "the other retrieves never came"
        with self._lock:
            self.under_way -= 1
        return super().retrieve(subscription_id, priority=priority)


def announce(runtime: Runtime, provider: FakeProvider, count: int) -> list[str]:
    """Subscriptions of different accounts, each with one delivery."""
    ids = [f"sub_{number:02}" for number in range(count)]
    for number, name in enumerate(ids):
        provider.subscriptions[name] = a_snapshot(name, seats=number, metadata={"account_id": f"acme-{name}"})
        deliver(runtime, f"msg_{name}", subscription_id=name)
    return ids


def with_provider(runtime: Runtime, provider: FakeProvider) -> Runtime:
    return replace(runtime, provider=provider)


def test_retrieves_overlap(runtime: Runtime):
    provider = SlowProvider(expected=4)
    ids = announce(runtime, provider, 4)
    assert set(drain(with_provider(runtime, provider), ids, threads=4)) == set(ids)


def test_no_more_are_leased_than_can_be_retrieved_at_once(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    ids = announce(runtime, provider, 12)
    leased: list[int] = []

    def count_leases(*arguments: object) -> SyncOutcome:
        leased.append(sum(one.lease_until is not None for one in everything(runtime, Subscription)))
        return write(*arguments)

    monkeypatch.setattr(batch, "write", count_leases)
    assert set(drain(runtime, ids, threads=4)) == set(ids)
    assert max(leased) == 4


def test_each_account_gets_the_seats_of_its_own_subscription(runtime: Runtime, provider: FakeProvider):
    ids = announce(runtime, provider, 20)
    outcomes = drain(runtime, ids)
    assert set(outcomes.values()) == {SyncOutcome.SYNCED}
    assert [seats_of(runtime, f"acme-{name}") for name in ids] == [5 + number for number in range(20)]


def test_two_subscriptions_of_one_account_in_a_batch_both_count(runtime: Runtime, provider: FakeProvider):
    for name in ("sub_1", "sub_2"):
        provider.subscriptions[name] = a_snapshot(name, seats=10)
        deliver(runtime, f"msg_{name}", subscription_id=name)
    drain(runtime, ["sub_1", "sub_2"])
    assert seats_of(runtime) == 30


def test_a_batch_takes_what_is_due_and_leaves_the_rest(runtime: Runtime, provider: FakeProvider):
    due, waiting = announce(runtime, provider, 2)
    with runtime.sessions.begin() as session:
        session.execute(
            text("UPDATE subscriptions SET next_at = now() + interval '1 hour' WHERE id = :id"),
            {"id": waiting},
        )
    assert set(drain(runtime, [waiting, "sub_nobody_knows", due, due])) == {due}
    assert provider.retrieved == [due]


def test_after_the_budget_is_spent_no_further_subscription_loses_an_attempt(
    runtime: Runtime, provider: FakeProvider
):
    ids = announce(runtime, provider, 10)
    provider.failing = BudgetSpent("Nothing left.", retry_after=30)
    outcomes = drain(runtime, ids, threads=2)
    assert set(outcomes.values()) == {SyncOutcome.BUDGET_SPENT}
    assert len(outcomes) < len(ids)
    assert {one.attempts for one in everything(runtime, Subscription)} == {0}


def test_who_presses_sync_during_a_sync_that_the_budget_puts_off_is_not_put_off_with_it(runtime: Runtime):
    class SpentWhileSomebodyAsks(FakeProvider):
        def retrieve(
            self, subscription_id: str, *, priority: Priority = Priority.WEBHOOK
        ) -> SubscriptionSnapshot:
            with runtime.sessions.begin() as session:
                sync_queue.raise_hint(session, subscription_id)
            raise BudgetSpent("Nothing left.", retry_after=50)

    deliver(runtime)
    drain(with_provider(runtime, SpentWhileSomebodyAsks()), ["sub_1"])
    with runtime.sessions() as session:
        (pending,) = sync_queue.pending_syncs(session, {"sub_1": 2})
    assert pending.due_in <= timedelta()


def test_an_event_stored_while_the_lease_waits_is_among_those_it_covers(runtime: Runtime):
    deliver(runtime, "msg_1")
    with runtime.sessions() as delivering, ThreadPoolExecutor(1) as pool:
        delivering.execute(text("SELECT FROM subscriptions WHERE id = 'sub_1' FOR UPDATE"))
        leasing = pool.submit(lease, runtime, "sub_1")
        wait_until(lambda: somebody_waits(runtime), "the lease waits for the row")
        delivering.execute(text("UPDATE subscriptions SET hint = hint + 1"))
        delivering.execute(
            text(
                "INSERT INTO inbox (provider, event_id, type, subscription_id, state, body) "
                "VALUES ('dodo', 'msg_2', 'subscription.updated', 'sub_1', 'pending', '')"
            )
        )
        delivering.commit()
        (taken,) = leasing.result(PATIENCE)
    assert (taken.covers_hint, len(taken.events), taken.event_id) == (2, 2, "msg_2")


def lease(runtime: Runtime, subscription_id: str) -> list[sync_queue.Lease]:
    with runtime.sessions.begin() as session:
        return list(sync_queue.lease(session, [subscription_id], LEASE))


def somebody_waits(runtime: Runtime) -> bool:
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with runtime.sessions() as session:
        return bool(session.execute(text(waiting)).all())


def test_a_locked_subscription_does_not_hold_the_others(runtime: Runtime, provider: FakeProvider):
    locked, free = announce(runtime, provider, 2)
    with runtime.sessions() as somebody:
        somebody.execute(text("SELECT FROM subscriptions WHERE id = :id FOR UPDATE"), {"id": locked})
        assert set(drain(runtime, [locked, free])) == {free}
    assert set(drain(runtime, [locked, free])) == {locked}


def test_a_subscription_that_was_locked_for_a_moment_is_synced_at_the_end(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    ids = announce(runtime, provider, 3)
    somebody = runtime.sessions()
    somebody.execute(text("SELECT FROM subscriptions WHERE id = :id FOR UPDATE"), {"id": ids[0]})

    def write_and_unlock(*arguments: object) -> SyncOutcome:
        somebody.rollback()
        return write(*arguments)

    monkeypatch.setattr(batch, "write", write_and_unlock)
    assert set(drain(runtime, ids, threads=3)) == set(ids)
    somebody.close()


def test_answers_are_not_waited_for_without_end(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "_LAST_SECONDS", 0.1)
    provider = SlowProvider(expected=-1)
    ids = announce(runtime, provider, 2)
    try:
        assert drain(with_provider(runtime, provider), ids, seconds=1.0) == {}
        assert provider.under_way == 2
    finally:
        provider.opened.set()


class Interrupted(BaseException):
    """What a signal raises in the middle of a task."""


def test_an_interrupted_batch_does_not_wait_for_a_hanging_provider(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    provider = SlowProvider(expected=-1)
    ids = announce(runtime, provider, 2)

    def interrupt(*_: object, **__: object) -> None:
        wait_until(lambda: provider.under_way == 2, "both retrieves are under way")
        raise Interrupted

    monkeypatch.setattr(batch, "wait", interrupt)
    try:
        with pytest.raises(Interrupted):
            drain(with_provider(runtime, provider), ids)
        assert provider.under_way == 2  # the drain ended before they did
    finally:
        provider.opened.set()
