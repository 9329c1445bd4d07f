"""The sweep wakes workers for due rows, or does the work itself while the broker is unreachable."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import text

from domain.provider_errors import TransientError
from models import sync_queue
from models.account import Account
from models.assignment import Assignment
from models.subscription import Subscription
from models.sync_queue import Lease
from runtime.wiring import Runtime
from services.ledger import accounts, claims
from services.ledger.claims import ClaimRequest
from services.sync import batch
from services.sync.batch import drain
from services.sync.subscription import Answer, sync, write
from tests.factories import a_catalog, a_cause, a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.test_subscription import deliver, everything, seats_of, sync_now, the
from worker import sweep as sweeping
from worker.sweep import Sweep


class Broker:
    def __init__(self) -> None:
        self.published: list[str] = []
        self.is_away = False

    def publish(self, subscription_ids: Sequence[str]) -> None:
        if self.is_away:
            raise ConnectionError
        self.published.extend(subscription_ids)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def sweep(runtime: Runtime, broker: Broker) -> Sweep:
    return Sweep(runtime, broker.publish)


def execute(runtime: Runtime, statement: str) -> None:
    with runtime.sessions.begin() as session:
        session.execute(text(statement))


def test_an_event_whose_wake_up_was_lost_wakes_a_worker(runtime: Runtime, sweep: Sweep, broker: Broker):
    deliver(runtime)
    sweep.once()
    assert broker.published == ["sub_1"]


def test_no_second_wake_up_is_sent_within_seconds(runtime: Runtime, sweep: Sweep, broker: Broker):
    deliver(runtime)
    sweep.once()
    sweep.once()
    assert broker.published == ["sub_1"]


def test_two_sweepers_share_the_work(runtime: Runtime, sweep: Sweep, broker: Broker):
    deliver(runtime)
    sweep.once()
    Sweep(runtime, broker.publish).once()
    assert broker.published == ["sub_1"]


def test_a_sync_in_its_backoff_wakes_nobody(
    runtime: Runtime, sweep: Sweep, broker: Broker, provider: FakeProvider
):
    provider.failing = TransientError("down", retry_after=60)
    deliver(runtime)
    sync(runtime, "sub_1")
    sweep.once()
    assert broker.published == []


def test_a_sync_whose_worker_died_is_due_again_after_its_lease(
    runtime: Runtime, sweep: Sweep, broker: Broker
):
    deliver(runtime)
    execute(runtime, "UPDATE subscriptions SET fence = 1, lease_until = now() - interval '1 s'")
    sweep.once()
    assert broker.published == ["sub_1"]


def test_a_broker_may_be_unreachable_for_a_moment(
    runtime: Runtime, sweep: Sweep, broker: Broker, provider: FakeProvider
):
    broker.is_away = True
    deliver(runtime)
    sweep.once()
    assert provider.retrieved == []


def test_while_the_broker_is_unreachable_the_sweep_does_the_work(
    runtime: Runtime,
    sweep: Sweep,
    broker: Broker,
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sweeping, "_BROKER_PATIENCE_SECONDS", 0)
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    broker.is_away = True
    deliver(runtime)
    sweep.once()
    assert seats_of(runtime) == 15


# Workers that are woken and do nothing: their clocks, their queue, or they themselves.


def time_passes(runtime: Runtime) -> None:
    """By the database's clock, and long enough for a worker to have come."""
    for column in ("rung_at", "next_at"):
        execute(runtime, f"UPDATE subscriptions SET {column} = {column} - interval '10 seconds'")


def test_a_sync_that_woken_workers_neglect_is_done_by_the_sweep(
    runtime: Runtime, sweep: Sweep, provider: FakeProvider
):
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    deliver(runtime)
    sweep.once()
    assert provider.retrieved == []
    time_passes(runtime)
    sweep.once()
    assert seats_of(runtime) == 15


def test_a_neglected_routine_sync_is_done_too(runtime: Runtime, sweep: Sweep, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    with runtime.sessions.begin() as session:
        sync_queue.raise_hints(session, ["sub_1"], routine=True)
    sweep.once()
    time_passes(runtime)
    sweep.once()
    assert seats_of(runtime) == 15


def test_a_sync_that_a_worker_tried_is_left_to_the_workers(
    runtime: Runtime, sweep: Sweep, broker: Broker, provider: FakeProvider
):
    provider.failing = TransientError("down")
    deliver(runtime)
    sweep.once()
    sync(runtime, "sub_1")
    time_passes(runtime)
    sweep.once()
    assert broker.published == ["sub_1", "sub_1"]
    assert provider.retrieved == ["sub_1"]


def test_the_help_of_a_sweep_is_bounded(
    runtime: Runtime, sweep: Sweep, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sweeping, "_HELP_SECONDS", 0)
    deliver(runtime)
    sweep.once()
    time_passes(runtime)
    sweep.once()
    assert provider.retrieved == []


def test_the_list_is_compared_here_if_no_worker_does_it(
    runtime: Runtime, broker: Broker, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    wake_ups: list[str] = []
    sweep = Sweep(runtime, broker.publish, wake_reconcile=lambda: wake_ups.append("reconcile"))
    sweep.once()
    assert (wake_ups, provider.listed_pages) == (["reconcile"], 0)
    monkeypatch.setattr(sweeping, "_NEGLECTED_AFTER_SECONDS", 0)
    sweep.once()
    assert provider.listed_pages == 1


def test_a_drain_ends_in_time_and_leaves_the_rest_due(runtime: Runtime, provider: FakeProvider):
    deliver(runtime)
    assert drain(runtime, ["sub_1"], seconds=0) == {}
    assert the(runtime, Subscription).hint == 1


def test_one_subscription_that_fails_stops_no_other(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    def stumble_once(runtime: Runtime, lease: Lease, answer: Answer):
        if lease.subscription_id == "sub_bad":
            raise ZeroDivisionError
        return write(runtime, lease, answer)

    monkeypatch.setattr(batch, "write", stumble_once)
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    deliver(runtime, "msg_bad", subscription_id="sub_bad")
    deliver(runtime)
    drain(runtime, ["sub_bad", "sub_1"])
    assert seats_of(runtime) == 15


# Time is an event too.


def test_an_invitation_lapses_by_itself(runtime: Runtime, sweep: Sweep, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime)
    sync(runtime, "sub_1")
    with runtime.sessions.begin() as session:
        wish = ClaimRequest(member_id="invited", role="member", hold=True)
        claims.claim(session, "acme", wish, runtime.catalog, a_cause())
    execute(runtime, "UPDATE assignments SET expires_at = now() - interval '1 s'")
    execute(runtime, "UPDATE accounts SET evaluate_at = now() - interval '1 s'")
    sweep.once()
    (person,) = everything(runtime, Assignment)
    assert person.state == "released"
    assert the(runtime, Account, "acme").seats["full"]["held"] == 0


def test_an_account_is_evaluated_once_and_not_with_every_sweep(runtime: Runtime, sweep: Sweep):
    with runtime.sessions.begin() as session:
        accounts.open_account(session, "acme", runtime.catalog, a_cause())
    execute(runtime, "UPDATE accounts SET evaluate_at = now()")
    sweep.once()
    before = the(runtime, Account, "acme").version
    sweep.once()
    assert the(runtime, Account, "acme").version == before


def held_since_eight_days(runtime: Runtime, provider: FakeProvider) -> None:
    provider.subscriptions["sub_1"] = a_snapshot(status="on_hold")
    deliver(runtime)
    sync(runtime, "sub_1")
    execute(runtime, "UPDATE subscriptions SET unpaid_since = now() - interval '8 days'")
    execute(runtime, "UPDATE subscriptions SET verified_at = now() - interval '2 days'")
    execute(runtime, "UPDATE subscriptions SET looked_at = verified_at, counted_at = verified_at")
    execute(runtime, "UPDATE accounts SET evaluate_at = now()")


def test_a_payment_deadline_that_passed_asks_the_provider_first(
    runtime: Runtime, sweep: Sweep, broker: Broker, provider: FakeProvider
):
    held_since_eight_days(runtime, provider)
    sweep.once()
    sweep.once()
    assert broker.published == ["sub_1"]
    assert the(runtime, Account, "acme").status == "grace"


def test_only_a_sync_after_the_deadline_suspends(runtime: Runtime, sweep: Sweep, provider: FakeProvider):
    held_since_eight_days(runtime, provider)
    sweep.once()
    sync_now(runtime)
    assert the(runtime, Account, "acme").status == "suspended"


def test_who_paid_in_time_is_never_suspended(runtime: Runtime, sweep: Sweep, provider: FakeProvider):
    held_since_eight_days(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot()
    sweep.once()
    sync_now(runtime)
    assert the(runtime, Account, "acme").status == "ok"


def test_a_changed_catalogue_reaches_every_account(runtime: Runtime, broker: Broker, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(product_id="pdt_new")
    deliver(runtime)
    sync(runtime, "sub_1")
    taught = a_catalog("[products.pdt_new]\nname = 'New'\nincluded = { full = 7 }\n")
    values = {name: getattr(runtime, name) for name in Runtime.__slots__}
    Sweep(Runtime(**{**values, "catalog": taught}), broker.publish).once()
    assert seats_of(runtime) == 7
