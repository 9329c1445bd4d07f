"""What one sync does, and what it must never do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.provider_errors import BudgetSpent, TransientError
from domain.snapshot import AddonQuantity
from models import inbox, sync_queue
from models.account import Account
from models.audit import AuditRow
from models.drift_finding import DriftFinding
from models.inbox import InboxEvent
from models.subscription import Subscription
from providers.base import Event
from runtime.wiring import Runtime
from services.ledger import subscriptions
from services.sync.subscription import LEASE, MOST_ATTEMPTS, SyncOutcome, sync
from tests.factories import a_cause, a_snapshot, an_arrival
from tests.fakes import FakeProvider


def deliver(runtime: Runtime, event_id: str = "msg_1", **changes) -> bool:
    with runtime.sessions.begin() as session:
        return inbox.store(session, an_arrival(event_id, **changes)).is_new


def now_due(runtime: Runtime) -> None:
    """Time passes: whatever waits out a pause is due."""
    with runtime.sessions.begin() as session:
        session.execute(update(Subscription).values(next_at=text("now()"), lease_until=None))


def announced_long_ago(runtime: Runtime) -> None:
    """What the provider does not show by now is not about to appear."""
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET created_at = now() - interval '1 hour'"))


def sync_now(runtime: Runtime, subscription_id: str = "sub_1") -> SyncOutcome:
    now_due(runtime)
    return sync(runtime, subscription_id)


def the(runtime: Runtime, table, key="sub_1"):
    with runtime.sessions() as session:
        return session.get(table, key)


def seats_of(runtime: Runtime, account_id: str = "acme", seat_type: str = "full") -> int:
    kept = the(runtime, Account, account_id).seats[seat_type]
    return kept["included"] + kept["addon"]


def everything(runtime: Runtime, table):
    with runtime.sessions() as session:
        return session.scalars(select(table).order_by(table.id)).all()


def test_an_event_makes_the_account_show_what_the_provider_has(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    deliver(runtime)
    assert sync(runtime, "sub_1") is SyncOutcome.SYNCED
    assert seats_of(runtime) == 15


def test_without_an_event_nothing_is_retrieved(runtime: Runtime, provider: FakeProvider):
    assert sync(runtime, "sub_1") is SyncOutcome.NOTHING_DUE
    assert provider.retrieved == []


def test_a_burst_of_events_costs_one_retrieve(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    for number in range(10):
        deliver(runtime, f"msg_{number}")
    sync(runtime, "sub_1")
    sync(runtime, "sub_1")
    assert provider.retrieved == ["sub_1"]


def test_a_repeated_delivery_raises_no_hint(runtime: Runtime):
    assert deliver(runtime)
    assert not deliver(runtime)
    assert the(runtime, Subscription).hint == 1


def test_every_event_that_a_sync_covers_is_done(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime, "msg_1")
    deliver(runtime, "msg_2")
    sync(runtime, "sub_1")
    assert [event.state for event in everything(runtime, InboxEvent)] == ["done", "done"]


def test_an_event_that_arrives_during_a_sync_is_synced_again(runtime: Runtime, provider: FakeProvider):
    deliver(runtime, "msg_1")
    with runtime.sessions.begin() as session:
        lease = sync_queue.lease(session, ["sub_1"], LEASE)[0]
    deliver(runtime, "msg_2")
    with runtime.sessions.begin() as session:
        subscriptions.apply(session, lease, a_snapshot(seats=1), runtime.catalog, a_cause())
    assert [event.state for event in everything(runtime, InboxEvent)] == ["done", "pending"]
    provider.subscriptions["sub_1"] = a_snapshot(seats=2)
    assert sync_now(runtime) is SyncOutcome.SYNCED
    assert seats_of(runtime) == 7


def test_a_sync_that_lost_its_lease_writes_nothing(runtime: Runtime):
    deliver(runtime)
    with runtime.sessions.begin() as session:
        slow = sync_queue.lease(session, ["sub_1"], LEASE)[0]
    now_due(runtime)
    with runtime.sessions.begin() as session:
        quick = sync_queue.lease(session, ["sub_1"], LEASE)[0]
        subscriptions.apply(session, quick, a_snapshot(seats=10), runtime.catalog, a_cause())
    with runtime.sessions.begin() as session:
        assert subscriptions.apply(session, slow, a_snapshot(seats=1), runtime.catalog, a_cause()) is None
    assert seats_of(runtime) == 15


def test_a_subscription_is_synced_by_one_worker_at_a_time(runtime: Runtime, provider: FakeProvider):
    deliver(runtime)
    with runtime.sessions.begin() as session:
        sync_queue.lease(session, ["sub_1"], LEASE)
    assert sync(runtime, "sub_1") is SyncOutcome.NOTHING_DUE
    assert provider.retrieved == []


def test_an_outage_keeps_the_event_and_waits(runtime: Runtime, provider: FakeProvider):
    provider.failing = TransientError("The provider does not answer.")
    deliver(runtime)
    assert sync(runtime, "sub_1") is SyncOutcome.POSTPONED
    row = the(runtime, Subscription)
    assert (row.hint, row.synced, row.attempts) == (1, 0, 1)
    assert row.last_error == "The provider does not answer."


def test_the_providers_own_wish_to_wait_is_honoured(runtime: Runtime, provider: FakeProvider):
    provider.failing = TransientError("Too many requests.", retry_after=120)
    deliver(runtime)
    sync(runtime, "sub_1")
    with runtime.sessions() as session:
        waits = session.scalar(text("SELECT next_at - now() FROM subscriptions"))
    assert waits > timedelta(seconds=100)


def test_a_request_that_was_never_sent_counts_as_no_attempt(runtime: Runtime, provider: FakeProvider):
    provider.failing = BudgetSpent("Nothing left.", retry_after=1)
    deliver(runtime)
    sync(runtime, "sub_1")
    assert the(runtime, Subscription).attempts == 0


def test_after_the_last_attempt_the_event_is_a_dead_letter_with_its_reason(
    runtime: Runtime, provider: FakeProvider
):
    provider.failing = TransientError("The provider does not answer.")
    deliver(runtime)
    with runtime.sessions.begin() as session:
        session.execute(update(Subscription).values(attempts=MOST_ATTEMPTS))
    assert sync(runtime, "sub_1") is SyncOutcome.DEAD
    (event,) = everything(runtime, InboxEvent)
    assert (event.state, event.reason) == ("dead", f"gave up after {MOST_ATTEMPTS} attempts")


def test_a_bug_postpones_and_is_counted(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    def stumble(*_, **__):
        raise ZeroDivisionError

    provider.subscriptions["sub_1"] = a_snapshot()
    monkeypatch.setattr(subscriptions, "apply", stumble)
    deliver(runtime)
    assert sync(runtime, "sub_1") is SyncOutcome.POSTPONED
    row = the(runtime, Subscription)
    assert (row.attempts, row.last_error) == (1, "unexpected ZeroDivisionError, see the log")


def lock_timeout(session) -> None:
    session.execute(text("DO $$ BEGIN RAISE lock_not_available; END $$"))


def statement_timeout(session) -> None:
    session.execute(text("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(1)"))


def deadlock(session) -> None:
    session.execute(text("DO $$ BEGIN RAISE deadlock_detected; END $$"))


def lost_connection(session) -> None:
    session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def exhausted_pool(_) -> None:
    raise PoolTimeoutError


def bad_value(session) -> None:
    session.execute(text("SELECT 1 / 0"))


def broken_constraint(session) -> None:
    session.execute(text("INSERT INTO accounts (id) VALUES ('no more than an id')"))


def failing_write(monkeypatch: pytest.MonkeyPatch, fail) -> None:
    monkeypatch.setattr(subscriptions, "apply", lambda session, *_, **__: fail(session))


@pytest.mark.parametrize("fail", [lock_timeout, statement_timeout, deadlock, lost_connection, exhausted_pool])
def test_a_database_that_cannot_serve_is_no_attempt(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, fail
):
    provider.subscriptions["sub_1"] = a_snapshot(seats=1)
    deliver(runtime)
    with monkeypatch.context() as patched:
        failing_write(patched, fail)
        for _ in range(3):
            with pytest.raises(SQLAlchemyError):
                sync_now(runtime)
    found = the(runtime, Subscription)
    assert (found.attempts, found.lease_until, found.last_error) == (0, None, None)
    assert sync_now(runtime) is SyncOutcome.SYNCED


@pytest.mark.parametrize("fail", [bad_value, broken_constraint])
def test_a_write_that_the_database_refuses_is_counted_as_a_bug(
    runtime: Runtime,
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fail,
):
    provider.subscriptions["sub_1"] = a_snapshot(seats=1)
    deliver(runtime)
    failing_write(monkeypatch, fail)
    assert sync_now(runtime) is SyncOutcome.POSTPONED
    assert the(runtime, Subscription).attempts == 1
    assert "no more than an id" not in caplog.text


def test_a_new_event_brings_a_dead_subscription_back(runtime: Runtime, provider: FakeProvider):
    provider.failing = TransientError("The provider does not answer.")
    deliver(runtime)
    with runtime.sessions.begin() as session:
        session.execute(update(Subscription).values(attempts=MOST_ATTEMPTS))
    assert sync(runtime, "sub_1") is SyncOutcome.DEAD
    provider.failing = None
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime, "msg_2")
    assert sync(runtime, "sub_1") is SyncOutcome.SYNCED


def test_the_first_success_after_a_long_outage_ends_the_backoff_of_all(
    runtime: Runtime, provider: FakeProvider
):
    provider.failing = TransientError("down", retry_after=300)
    for number in (1, 2):
        deliver(runtime, f"msg_{number}", subscription_id=f"sub_{number}")
        sync(runtime, f"sub_{number}")
    provider.failing = None
    provider.subscriptions = {name: a_snapshot(name) for name in ("sub_1", "sub_2")}
    with runtime.sessions.begin() as session:
        due = update(Subscription).where(Subscription.id == "sub_1").values(next_at=text("now()"))
        session.execute(due.values(attempts=2))
    sync(runtime, "sub_1")
    assert sync(runtime, "sub_2") is SyncOutcome.SYNCED


def test_an_event_that_arrives_during_the_last_attempt_gets_a_sync_of_its_own(
    runtime: Runtime, provider: FakeProvider
):
    deliver(runtime, "msg_1")
    with runtime.sessions.begin() as session:
        lease = sync_queue.lease(session, ["sub_1"], LEASE)[0]
    deliver(runtime, "msg_2")
    with runtime.sessions.begin() as session:
        assert not sync_queue.mark_dead(session, lease, "hopeless")
    provider.subscriptions["sub_1"] = a_snapshot()
    assert sync_now(runtime) is SyncOutcome.SYNCED
    assert [event.state for event in everything(runtime, InboxEvent)] == ["done", "done"]


# What cannot be counted.

UNCOUNTABLE = {
    "an unknown product": {"product_id": "pdt_who"},
    "an unknown add-on": {"addons": (AddonQuantity("adn_who", 3),)},
    "no word on add-ons": {"addons": None},
    "a negative quantity": {"addons": (AddonQuantity("adn_seat", -1),)},
    "an absurd quantity": {"addons": (AddonQuantity("adn_seat", 2**40),)},
}


@pytest.mark.parametrize("changes", UNCOUNTABLE.values(), ids=UNCOUNTABLE)
def test_what_cannot_be_counted_keeps_the_last_good_figure_and_records_why(
    runtime: Runtime, provider: FakeProvider, changes
):
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    deliver(runtime, "msg_1")
    sync(runtime, "sub_1")
    provider.subscriptions["sub_1"] = a_snapshot(**changes)
    deliver(runtime, "msg_2")
    sync_now(runtime)
    assert seats_of(runtime) == 15
    (found,) = everything(runtime, DriftFinding)
    assert found.subject == "sub_1"
    assert found.closed_at is None


def test_an_unknown_status_keeps_the_last_good_state(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    deliver(runtime, "msg_1")
    sync(runtime, "sub_1")
    provider.subscriptions["sub_1"] = a_snapshot(status="hibernating")
    deliver(runtime, "msg_2")
    sync_now(runtime)
    assert (the(runtime, Account, "acme").status, seats_of(runtime)) == ("ok", 15)
    assert [found.kind for found in everything(runtime, DriftFinding)] == ["unknown_status"]


def test_a_finding_closes_itself_when_the_two_sides_agree(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(product_id="pdt_who")
    deliver(runtime, "msg_1")
    sync(runtime, "sub_1")
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime, "msg_2")
    sync_now(runtime)
    (found,) = everything(runtime, DriftFinding)
    assert found.closed_at is not None


def test_a_subscription_the_provider_never_had_gives_no_seats_and_a_finding(runtime: Runtime):
    deliver(runtime)
    announced_long_ago(runtime)
    assert sync(runtime, "sub_1") is SyncOutcome.NOT_AT_PROVIDER
    assert [found.kind for found in everything(runtime, DriftFinding)] == ["not_at_provider"]
    assert everything(runtime, Account) == []


def test_a_subscription_the_provider_no_longer_shows_keeps_its_seats(
    runtime: Runtime, provider: FakeProvider
):
    provider.subscriptions["sub_1"] = a_snapshot(seats=10)
    deliver(runtime, "msg_1")
    sync(runtime, "sub_1")
    provider.subscriptions.clear()
    deliver(runtime, "msg_2")
    assert sync_now(runtime) is SyncOutcome.NOT_AT_PROVIDER
    assert seats_of(runtime) == 15


# While no retrieve can be had, a body may raise and never lower.


def claim_in_body(runtime: Runtime, provider: FakeProvider, event_id: str, **changes) -> None:
    provider.events[event_id.encode()] = Event(type="subscription.updated", snapshot=a_snapshot(**changes))
    deliver(runtime, event_id)


def known_with_ten_extra_seats(runtime: Runtime, provider: FakeProvider, **changes) -> None:
    provider.subscriptions["sub_1"] = a_snapshot(seats=10, **changes)
    deliver(runtime, "msg_0")
    sync(runtime, "sub_1")
    provider.failing = TransientError("down")


def test_in_an_outage_a_body_raises_the_seats(runtime: Runtime, provider: FakeProvider):
    known_with_ten_extra_seats(runtime, provider)
    claim_in_body(runtime, provider, "msg_1", seats=20)
    sync_now(runtime)
    assert seats_of(runtime) == 25
    assert the(runtime, Subscription).unverified is not None


def test_in_an_outage_a_body_gives_a_new_customer_their_seats(runtime: Runtime, provider: FakeProvider):
    provider.failing = TransientError("down")
    claim_in_body(runtime, provider, "msg_1", seats=3)
    sync_now(runtime)
    assert seats_of(runtime) == 8


def test_in_an_outage_a_body_restores_access(runtime: Runtime, provider: FakeProvider):
    known_with_ten_extra_seats(runtime, provider, status="paused")
    claim_in_body(runtime, provider, "msg_1", seats=10, status="active")
    sync_now(runtime)
    assert the(runtime, Account, "acme").status == "ok"


@pytest.mark.parametrize(
    "lower",
    [
        {"seats": 2},
        {"seats": 20, "status": "paused"},
        {"seats": 20, "status": "cancelled"},
        {"product_id": "pdt_x"},
    ],
    ids=["fewer seats", "paused", "cancelled", "unknown product"],
)
def test_in_an_outage_a_body_never_lowers(runtime: Runtime, provider: FakeProvider, lower):
    known_with_ten_extra_seats(runtime, provider)
    claim_in_body(runtime, provider, "msg_1", **lower)
    sync_now(runtime)
    assert (the(runtime, Account, "acme").status, seats_of(runtime)) == ("ok", 15)


def test_after_the_outage_the_retrieve_has_the_last_word(runtime: Runtime, provider: FakeProvider):
    known_with_ten_extra_seats(runtime, provider)
    claim_in_body(runtime, provider, "msg_1", seats=20)
    sync_now(runtime)
    provider.failing = None
    sync_now(runtime)
    assert seats_of(runtime) == 15
    assert the(runtime, Subscription).unverified is None


# Which account a subscription belongs to.


@pytest.mark.parametrize(
    ("named", "account_id"),
    [("acme", "acme"), (" acme ", "acme"), (42, "42"), ("a/b.c", "a/b.c"), ("ünï", "ünï")],
)
def test_the_metadata_may_name_the_account(runtime: Runtime, provider: FakeProvider, named, account_id):
    provider.subscriptions["sub_1"] = a_snapshot(metadata={"account_id": named})
    deliver(runtime)
    sync(runtime, "sub_1")
    assert the(runtime, Subscription).account_id == account_id


@pytest.mark.parametrize("named", ["", "  ", True, 1.5, "x" * 201, "two\nlines"])
def test_metadata_that_names_no_account_gives_the_subscription_one_of_its_own(
    runtime: Runtime, provider: FakeProvider, named
):
    provider.subscriptions["sub_1"] = a_snapshot(metadata={"account_id": named})
    deliver(runtime)
    sync(runtime, "sub_1")
    assert the(runtime, Subscription).account_id == "sub_1"


def test_raised_seats_end_if_the_provider_does_not_know_the_subscription(
    runtime: Runtime, provider: FakeProvider
):
    provider.failing = TransientError("down")
    claim_in_body(runtime, provider, "msg_1", seats=50)
    sync_now(runtime)
    provider.failing = None
    announced_long_ago(runtime)
    assert sync_now(runtime) is SyncOutcome.NOT_AT_PROVIDER
    assert the(runtime, Account, "acme").seats["full"]["addon"] == 0


def test_a_raise_never_becomes_the_last_good_figure(runtime: Runtime, provider: FakeProvider):
    known_with_ten_extra_seats(runtime, provider)
    claim_in_body(runtime, provider, "msg_1", seats=50)
    sync_now(runtime)
    provider.failing = None
    provider.subscriptions["sub_1"] = a_snapshot(addons=None)
    sync_now(runtime)
    assert seats_of(runtime) == 15


def test_in_an_outage_a_body_moves_no_subscription_elsewhere(runtime: Runtime, provider: FakeProvider):
    known_with_ten_extra_seats(runtime, provider)
    claim_in_body(runtime, provider, "msg_1", seats=11, metadata={"account_id": "other"})
    sync_now(runtime)
    assert seats_of(runtime, "acme") == 15


# The audit.


def test_a_sync_that_changes_nothing_leaves_no_audit_row(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime, "msg_1")
    sync(runtime, "sub_1")
    before = len(everything(runtime, AuditRow))
    deliver(runtime, "msg_2")
    sync_now(runtime)
    assert len(everything(runtime, AuditRow)) == before


def test_an_audit_row_names_the_event_and_the_fence_behind_it(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime, "msg_7")
    sync(runtime, "sub_1")
    (row,) = everything(runtime, AuditRow)
    assert (row.event_id, row.fence, row.actor, row.before) == ("msg_7", 1, "provider:dodo", None)
