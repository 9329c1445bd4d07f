"""A full sync covers every change from before its start, and does not wait for later ones."""

from __future__ import annotations

from dataclasses import replace

from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError

from domain.provider_errors import BudgetSpent, TransientError
from domain.snapshot import AddonQuantity
from models.subscription import Subscription
from models.sync_queue import Lease
from runtime.wiring import Runtime
from services.sync import batch, reconcile
from services.sync import full_sync as full_syncing
from services.sync.full_sync import Progress, full_sync
from services.sync.subscription import Answer, SyncOutcome, sync, write
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.passes import ENDLESS, complete_pass, drift, the_pass
from tests.services.sync.test_reconcile import change, many
from tests.services.sync.test_subscription import seats_of


def whole(runtime: Runtime, *, everything: bool = False, patience: float = 0.5) -> Progress:
    """Its last word."""
    return list(full_sync(runtime, everything=everything, patience=patience))[-1]


def seen(runtime: Runtime) -> int:
    with runtime.sessions() as session:
        return session.query(Subscription).where(Subscription.snapshot.is_not(None)).count()


def test_it_ends_when_everything_listed_was_synced(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(30)
    assert whole(runtime) == Progress(listed=30, is_listed=True)
    assert seen(runtime) == 30


def test_what_changed_on_a_page_read_before_is_not_missed(runtime: Runtime, provider: FakeProvider):
    """A scheduled pass has read the first of two pages when the full sync starts."""
    provider.subscriptions, provider.page_size = many(2), 1
    whole(runtime)
    reconcile.begin(runtime, now=True)
    reconcile.walk(runtime, until=0)
    provider.subscriptions["sub_0000"] = replace(provider.subscriptions["sub_0000"], quantity=2)
    assert whole(runtime).is_done
    assert [(one.subject, one.state) for one in drift(runtime)] == [("sub_0000", "repaired")]


def test_a_pass_that_the_timer_begins_meanwhile_is_not_waited_for(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(3), 1
    complete_pass(runtime)
    steps = full_sync(runtime, patience=0.5)

    def others_are_quicker() -> None:
        provider.between_pages = None
        change(runtime, "UPDATE reconcile_passes SET lease_until = NULL WHERE finished_at IS NULL")
        reconcile.walk(runtime, until=ENDLESS)
        reconcile.begin(runtime)
        change(runtime, "UPDATE reconcile_passes SET next_at = now() + interval '1 h' WHERE next_page = 0")

    provider.between_pages = others_are_quicker
    assert list(steps)[-1].is_done
    assert the_pass(runtime).finished_at is None


def test_with_everything_every_known_subscription_is_synced(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    whole(runtime)
    provider.subscriptions["sub_1"] = a_snapshot(addons=(AddonQuantity("adn_seat", 4),))
    whole(runtime)
    assert seats_of(runtime) == 5
    whole(runtime, everything=True)
    assert seats_of(runtime) == 9


def test_requests_in_slices_leave_nobody_out(runtime: Runtime, provider: FakeProvider, monkeypatch):
    monkeypatch.setattr(full_syncing, "_SLICE", 3)
    provider.subscriptions = many(7)
    whole(runtime)
    provider.retrieved.clear()
    whole(runtime, everything=True)
    assert sorted(provider.retrieved) == sorted(provider.subscriptions)


def test_a_sync_by_another_process_counts(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(3)
    steps = full_sync(runtime, patience=0.5)
    next(step for step in steps if step.left == 3)
    for name in provider.subscriptions:
        sync(runtime, name)
    assert next(steps).is_done
    assert len(provider.retrieved) == 3


def test_requests_after_its_start_are_not_waited_for(runtime: Runtime, provider: FakeProvider):
    """One that gets a webhook every moment would never be done."""
    provider.subscriptions = many(1)
    steps = full_sync(runtime, patience=0.5)
    next(step for step in steps if step.left)
    sync(runtime, "sub_0000")
    change(runtime, "UPDATE subscriptions SET hint = hint + 1, next_at = now() + interval '1 h'")
    assert next(steps).is_done


def test_a_subscription_in_a_long_backoff_is_retried_now(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(1)
    whole(runtime)
    change(
        runtime, "UPDATE subscriptions SET hint = hint + 1, attempts = 9, next_at = now() + interval '1 h'"
    )
    assert whole(runtime).is_done


def test_a_provider_that_only_fails_ends_it(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(2)
    provider.failing = TransientError("down")
    assert whole(runtime) == Progress(listed=2, is_listed=True, left=2, waits_for="down")


def test_a_list_that_only_fails_ends_it(runtime: Runtime, provider: FakeProvider):
    provider.failing_pages = TransientError("down")
    assert whole(runtime) == Progress(listed=0, waits_for="down")


def test_a_spent_budget_does_not_end_it(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(1)
    provider.failing = BudgetSpent("Nothing left.", retry_after=0.1)
    steps = full_sync(runtime, patience=0.2)
    while len(provider.retrieved) < 5:
        assert next(steps).waits_for in (None, "The request budget is spent for now.")
    provider.failing = None
    assert list(steps)[-1].is_done


def test_a_pass_that_was_given_up_is_not_taken_for_the_whole_list(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(2), 1

    def it_is_given_up() -> None:
        provider.between_pages = None
        change(runtime, "UPDATE reconcile_passes SET finished_at = now(), given_up = true")

    provider.between_pages = it_is_given_up
    assert whole(runtime) == Progress(listed=2, is_listed=True)
    assert seen(runtime) == 2


def test_a_locked_account_does_not_stop_the_others(runtime: Runtime, provider: FakeProvider, monkeypatch):
    def write_but_for_the_first(runtime: Runtime, lease: Lease, answer: Answer) -> SyncOutcome:
        if lease.subscription_id == "sub_0000":
            raise OperationalError("SELECT ... FOR UPDATE", {}, LockNotAvailable())
        return write(runtime, lease, answer)

    provider.subscriptions = many(3)
    monkeypatch.setattr(batch, "write", write_but_for_the_first)
    assert whole(runtime).left == 1
    assert seen(runtime) == 2
