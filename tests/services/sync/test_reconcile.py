"""Reconcile finds what webhooks missed, and only requests syncs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from domain.provider_errors import BudgetSpent, TransientError
from domain.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot
from models import sync_queue
from models.reconcile_sighting import Sighting
from models.subscription import Subscription
from providers.base import ListItem, ListPage
from runtime.wiring import Runtime
from services.sync import list_comparison
from services.sync import reconcile as reconciling
from services.sync.batch import drain
from services.sync.reconcile import begin, is_due, reconcile, walk
from services.sync.subscription import sync
from tests.clock import Clock
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.passes import (
    ENDLESS,
    complete_pass,
    drift,
    requested_syncs,
    run_requested_syncs,
    the_pass,
    verify_for,
)
from tests.services.sync.test_subscription import deliver, seats_of, sync_now, the
from worker.sweep import Sweep

pytestmark = pytest.mark.long(seconds=20)

DAY_AND_MORE = "interval '25 hours'"


def known(runtime: Runtime, provider: FakeProvider, *names: str, **changes) -> None:
    """Sold, announced by a webhook, and synced."""
    for name in names or ("sub_1",):
        provider.subscriptions[name] = a_snapshot(name, **changes)
        deliver(runtime, f"msg of {name}", subscription_id=name)
        sync(runtime, name)


def many(count: int) -> dict[str, SubscriptionSnapshot]:
    names = [f"sub_{number:04}" for number in range(count)]
    return {name: a_snapshot(name, metadata={"account_id": f"account-of-{name}"}) for name in names}


def change(runtime: Runtime, statement: str) -> None:
    with runtime.sessions.begin() as session:
        session.execute(text(statement))


# The list.


def test_without_differences_no_sync_is_requested(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    complete_pass(runtime)
    assert requested_syncs(runtime) == []


def test_an_unknown_subscription_is_found(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(seats=2)
    assert complete_pass(runtime).unheard_of == 1
    run_requested_syncs(runtime)
    assert seats_of(runtime) == 7


JANUARY = datetime(2027, 1, 1, tzinfo=UTC)
WISH = ScheduledChange("spc_1", "pdt_team", 1, (AddonQuantity("adn_seat", 2),), JANUARY)


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "paused"},
        {"product_id": "pdt_soft"},
        {"quantity": 3},
        {"recurring_pre_tax_amount": 1},
        {"cancel_at_next_billing_date": True},
        {"next_billing_date": None},
        {"scheduled_change": WISH},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_change_that_the_list_shows_requests_a_sync(runtime: Runtime, provider: FakeProvider, changed):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(**changed)
    assert complete_pass(runtime).differing == 1
    assert requested_syncs(runtime) == ["sub_1"]


def test_reconcile_writes_no_snapshot_itself(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(status="cancelled")
    complete_pass(runtime)
    assert the(runtime, Subscription).status == "active"


def test_a_vanished_subscription_keeps_its_seats_until_it_was_synced(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider, "sub_1", "sub_2", seats=2)
    del provider.subscriptions["sub_2"]
    assert complete_pass(runtime).vanished == 1
    assert requested_syncs(runtime) == ["sub_2"]
    assert seats_of(runtime) == 14


def test_a_subscription_known_to_be_missing_is_not_synced_in_every_pass(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider, "sub_1", "sub_2")
    del provider.subscriptions["sub_2"]
    complete_pass(runtime)
    run_requested_syncs(runtime)
    assert complete_pass(runtime).vanished == 0


def test_a_subscription_newer_than_the_pass_is_not_taken_for_vanished(
    runtime: Runtime, provider: FakeProvider
):
    """Created after the pass began, so the list of that moment cannot show it."""
    provider.subscriptions = many(2)
    provider.page_size = 1
    begin(runtime, now=True)
    walk(runtime, until=0)
    provider.subscriptions = {"sub_new": a_snapshot("sub_new"), **provider.subscriptions}
    deliver(runtime, subscription_id="sub_new")
    sync(runtime, "sub_new")
    provider.hidden = {"sub_new"}
    walk(runtime, until=ENDLESS)
    assert the_pass(runtime).vanished == 0


def test_a_difference_that_a_sync_disproved_is_synced_again_but_is_no_second_finding(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider)
    provider.listed_otherwise = {"sub_1": a_snapshot(quantity=9)}
    for _ in range(3):
        assert complete_pass(runtime).differing == 1
        run_requested_syncs(runtime)
    assert [one.state for one in drift(runtime)] == ["agreed"]


def test_a_real_change_is_found_though_the_list_was_once_disproved(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.listed_otherwise = {"sub_1": a_snapshot(status="on_hold")}
    complete_pass(runtime)
    run_requested_syncs(runtime)
    provider.subscriptions["sub_1"] = a_snapshot(status="on_hold")
    complete_pass(runtime)
    run_requested_syncs(runtime)
    assert the(runtime, Subscription).status == "on_hold"


def test_a_difference_with_a_sync_pending_is_no_finding(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    deliver(runtime, "msg_2")
    assert complete_pass(runtime).differing == 1
    assert drift(runtime) == []


def test_a_page_older_than_the_last_sync_makes_no_finding(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider, "sub_1", "sub_2")
    provider.page_size = 1
    provider.listed_otherwise = {"sub_1": a_snapshot(quantity=9)}

    def somebody_looks() -> None:
        deliver(runtime, "msg_3")
        sync_now(runtime)

    provider.between_pages = somebody_looks
    complete_pass(runtime)
    assert drift(runtime) == []


def test_a_subscription_whose_list_item_cannot_be_read_is_found_by_its_id(
    runtime: Runtime, provider: FakeProvider
):
    provider.subscriptions["sub_odd"] = a_snapshot("sub_odd")
    provider.unreadable = {"sub_odd"}
    complete_pass(runtime)
    assert requested_syncs(runtime) == ["sub_odd"]
    run_requested_syncs(runtime)
    assert complete_pass(runtime).vanished == 0
    assert requested_syncs(runtime) == []


def test_a_missing_subscription_that_is_listed_again_is_synced(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    sold = provider.subscriptions.pop("sub_1")
    deliver(runtime, "msg_2")
    sync_now(runtime)
    assert [one.state for one in drift(runtime)] == ["held"]
    provider.subscriptions["sub_1"] = sold
    complete_pass(runtime)
    run_requested_syncs(runtime)
    assert [one.state for one in drift(runtime)] == ["agreed"]


def test_a_subscription_that_the_list_never_shows_is_synced_once(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider, "sub_1", "sub_2")
    provider.hidden = {"sub_2"}
    assert [complete_pass(runtime).vanished for _ in range(3)] == [1, 0, 0]
    provider.hidden = set()
    complete_pass(runtime)
    provider.hidden = {"sub_2"}
    assert complete_pass(runtime).vanished == 1


def test_a_row_without_a_fingerprint_is_compared_by_its_snapshot(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    change(runtime, "UPDATE subscriptions SET fingerprint = NULL")
    assert complete_pass(runtime).differing == 0
    assert the(runtime, Subscription).fingerprint is not None


def test_a_change_that_a_sync_stores_while_the_pass_compares_is_not_taken_for_listed(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    known(runtime, provider)
    before = provider.subscriptions["sub_1"]
    select = list_comparison._select_unlike

    def select_just_before_a_sync(
        session: Session, items: Iterable[ListItem]
    ) -> Sequence[list_comparison._Row]:
        rows = select(session, items)
        provider.subscriptions["sub_1"] = a_snapshot(quantity=9)
        deliver(runtime, "msg_2")
        sync_now(runtime)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(list_comparison, "_select_unlike", select_just_before_a_sync)
        complete_pass(runtime)
    provider.subscriptions["sub_1"] = before  # and the delivery about it is lost
    assert complete_pass(runtime).differing == 1


# Pages, pauses and what comes between.


def test_within_one_period_there_is_one_pass(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    for _ in range(2):
        reconcile(runtime, until=ENDLESS)
    assert provider.listed_pages == 1


def test_a_pass_continues_where_it_was_stopped(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(5), 1
    begin(runtime, now=True)
    for _ in range(4):
        walk(runtime, until=0)
    assert (provider.listed_pages, the_pass(runtime).finished_at) == (4, None)
    walk(runtime, until=ENDLESS)
    assert provider.listed_pages == 5
    assert the_pass(runtime).finished_at is not None
    assert len(requested_syncs(runtime)) == 5


def test_while_one_reads_a_second_scheduler_does_nothing(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(3), 1

    def another_scheduler_comes() -> None:
        pages = provider.listed_pages
        reconcile(runtime, until=ENDLESS)
        assert provider.listed_pages == pages

    provider.between_pages = another_scheduler_comes
    assert complete_pass(runtime).listed == 3


def test_a_process_that_lost_the_lease_writes_nothing(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(2), 1

    def another_takes_the_pass() -> None:
        provider.between_pages = None
        change(runtime, "UPDATE reconcile_passes SET fence = fence + 1")

    provider.between_pages = another_takes_the_pass
    complete_pass(runtime)
    assert (the_pass(runtime).next_page, requested_syncs(runtime)) == (0, [])


def test_the_pass_of_a_process_that_died_is_continued_after_its_lease(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(2), 1

    def dies() -> None:
        raise KeyboardInterrupt

    provider.between_pages = dies
    with pytest.raises(KeyboardInterrupt):
        complete_pass(clocked_runtime)
    provider.between_pages = None
    walk(clocked_runtime, until=ENDLESS)
    assert the_pass(clocked_runtime).finished_at is None
    clock.advance(timedelta(seconds=13))
    walk(clocked_runtime, until=ENDLESS)
    assert (the_pass(clocked_runtime).finished_at, the_pass(clocked_runtime).listed) == (clock.now, 2)


def test_a_pass_is_spread_over_half_its_period(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(4), 1
    complete_pass(clocked_runtime)
    clock.advance(timedelta(hours=1))
    read_at = []
    for _ in range(60):
        before = provider.listed_pages
        reconcile(clocked_runtime, until=ENDLESS)
        read_at += [clock.now.minute] * (provider.listed_pages - before)
        clock.advance(timedelta(minutes=1))
    assert read_at == [0, 8, 16, 24]


def test_a_list_that_has_grown_is_read_within_its_period_all_the_same(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.page_size = 1
    complete_pass(clocked_runtime)
    provider.subscriptions = many(40)
    clock.advance(timedelta(hours=1))
    for _ in range(59):
        reconcile(clocked_runtime, until=ENDLESS)
        clock.advance(timedelta(minutes=1))
    assert the_pass(clocked_runtime).finished_at is not None


def test_a_caller_who_comes_while_a_page_is_read_waits_for_no_pause(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(3), 1
    complete_pass(clocked_runtime)
    clock.advance(timedelta(hours=1))
    reconcile(clocked_runtime, until=ENDLESS)
    clock.advance(timedelta(minutes=10))
    provider.between_pages = lambda: begin(clocked_runtime, now=True)
    walk(clocked_runtime, until=0)
    assert the_pass(clocked_runtime).next_at == clock.now


def test_a_pass_that_somebody_waits_for_makes_no_pauses(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(3), 1
    complete_pass(runtime)
    reconcile(runtime, until=ENDLESS)
    assert provider.listed_pages == 4
    assert complete_pass(runtime).finished_at is not None
    assert provider.listed_pages == 6


def test_a_spent_budget_is_waited_for_without_holding_the_pass(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(5), 1
    provider.page_budget = 3
    complete_pass(clocked_runtime)
    waiting = the_pass(clocked_runtime)
    assert (waiting.next_page, waiting.lease_until, waiting.failures) == (3, None, 0)
    clock.advance(timedelta(seconds=1))
    walk(clocked_runtime, until=ENDLESS)
    assert (the_pass(clocked_runtime).listed, provider.listed_pages) == (5, 5)


def test_a_failing_provider_is_retried_with_growing_pauses(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions["sub_1"] = a_snapshot()
    provider.failing_pages = TransientError("down")
    pauses = []
    for _ in range(4):
        complete_pass(clocked_runtime)
        pauses.append(the_pass(clocked_runtime).next_at - clock.now)
        clock.set(the_pass(clocked_runtime).next_at)
    assert pauses == sorted(pauses)
    assert the_pass(clocked_runtime).last_error == "down"
    provider.failing_pages = None
    walk(clocked_runtime, until=ENDLESS)
    assert (the_pass(clocked_runtime).listed, the_pass(clocked_runtime).last_error) == (1, None)


def test_a_page_that_always_fails_does_not_prevent_the_next_pass(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(2), 1
    complete_pass(clocked_runtime)
    run_requested_syncs(clocked_runtime)
    known_pages = provider.listed_pages

    def page_two_fails() -> None:
        raise TransientError("answered 500")

    provider.between_pages = page_two_fails
    clock.advance(timedelta(hours=1))
    for _ in range(80):
        reconcile(clocked_runtime, until=ENDLESS)
        clock.advance(timedelta(minutes=6))
    assert provider.listed_pages > known_pages + 1
    with clocked_runtime.sessions() as session:
        assert session.execute(text("SELECT count(*) FROM reconcile_passes WHERE given_up")).scalar() == 1
    assert requested_syncs(clocked_runtime) == []


def test_a_list_that_repeats_itself_is_noticed_even_a_page_at_a_time(
    runtime: Runtime, provider: FakeProvider
):
    provider.subscriptions, provider.page_size = many(10), 1
    provider.repeats = True
    begin(runtime, now=True)
    for _ in range(6):
        walk(runtime, until=0)
    assert (the_pass(runtime).failures, the_pass(runtime).listed) == (1, 3)


def test_a_page_that_the_database_refused_is_read_again(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_, **__):
        raise OperationalError("SELECT", {}, Exception())

    provider.subscriptions["sub_1"] = a_snapshot()
    with monkeypatch.context() as broken:
        broken.setattr(list_comparison, "compare", failing)
        with pytest.raises(OperationalError):
            complete_pass(runtime)
    change(runtime, "UPDATE reconcile_passes SET lease_until = NULL")
    walk(runtime, until=ENDLESS)
    assert the_pass(runtime).listed == 1


class NewestFirst(FakeProvider):
    """A list with a page behind a full last one."""

    def pages(self, *, created_before: datetime, first_page: int = 0) -> Iterator[ListPage]:
        yield from super().pages(created_before=created_before, first_page=first_page)
        if len(self.subscriptions) % self.page_size == 0:
            self.listed_pages += 1


@pytest.fixture
def of_four(runtime: Runtime) -> tuple[Runtime, NewestFirst]:
    """Two full pages."""
    born = datetime(2026, 11, 1, tzinfo=UTC)
    provider = NewestFirst(page_size=2)
    provider.subscriptions = {
        name: replace(one, created_at=born - timedelta(days=age))
        for age, (name, one) in enumerate(many(4).items())
    }
    return replace(runtime, provider=provider), provider


def test_the_empty_page_behind_a_full_last_one_is_read_once_a_day(of_four: tuple[Runtime, NewestFirst]):
    runtime, provider = of_four
    assert complete_pass(runtime).finished_at is not None
    assert provider.listed_pages == 3
    complete_pass(runtime)
    assert provider.listed_pages == 5
    change(runtime, f"UPDATE reconcile_passes SET end_seen_at = end_seen_at - {DAY_AND_MORE}")
    complete_pass(runtime)
    assert provider.listed_pages == 8


def test_a_list_that_ends_with_a_full_batch_was_read_to_its_end(
    of_four: tuple[Runtime, NewestFirst], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciling, "_MOST_PAGES", 2)
    runtime, provider = of_four
    assert complete_pass(runtime).end_seen_at is not None
    complete_pass(runtime)
    assert provider.listed_pages == 5


def test_an_end_is_not_believed_where_the_newest_do_not_come_first(of_four: tuple[Runtime, NewestFirst]):
    runtime, provider = of_four
    provider.subscriptions = dict(reversed(provider.subscriptions.items()))
    for _ in range(2):
        complete_pass(runtime)
    assert provider.listed_pages == 6


# Rolling verification.


def test_a_free_addon_is_found_within_the_time_to_verify(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    known(clocked_runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(addons=(AddonQuantity("adn_seat", 4),))
    for _ in range(24):
        clock.advance(timedelta(hours=1))
        reconcile(clocked_runtime, until=ENDLESS)
        run_requested_syncs(clocked_runtime)
    assert seats_of(clocked_runtime) == 9


def test_subscriptions_synced_together_are_verified_one_by_one(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciling, "_FEWEST_VERIFIED", 5)
    provider.subscriptions = many(60)
    complete_pass(clocked_runtime)
    run_requested_syncs(clocked_runtime)
    provider.retrieved.clear()
    by_hour = []
    for _ in range(24):
        clock.advance(timedelta(hours=1))
        before = len(provider.retrieved)
        for _ in range(3):
            verify_for(clocked_runtime)
            run_requested_syncs(clocked_runtime)
        by_hour.append(len(provider.retrieved) - before)
    assert set(provider.retrieved) == set(provider.subscriptions)
    assert by_hour[:12] == [0] * 12
    assert max(by_hour) <= 10


def with_period(runtime: Runtime, hours: float) -> Runtime:
    return replace(runtime, settings=runtime.settings.model_copy(update={"verify_hours": hours}))


def test_a_shorter_period_is_kept_from_its_first_day_on(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions = many(20)
    complete_pass(clocked_runtime)
    run_requested_syncs(clocked_runtime)
    verify_for(clocked_runtime)  # writes when to check them next, by the longer period
    provider.retrieved.clear()
    shorter = with_period(clocked_runtime, 6)
    for _ in range(6):
        clock.advance(timedelta(hours=1))
        verify_for(shorter)
        run_requested_syncs(shorter)
    assert set(provider.retrieved) == set(provider.subscriptions)


def test_with_a_longer_period_nothing_is_verified_before_half_of_it(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions = many(20)
    complete_pass(clocked_runtime)
    run_requested_syncs(clocked_runtime)
    verify_for(clocked_runtime)
    provider.retrieved.clear()
    longer = with_period(clocked_runtime, 72)
    for _ in range(35):
        clock.advance(timedelta(hours=1))
        verify_for(longer)
    assert requested_syncs(longer) == []


def test_a_check_that_is_due_does_not_repeat_a_sync_that_was_done(runtime: Runtime, provider: FakeProvider):
    """As after a time in which an older release, which knows of no checks, has synced."""
    known(runtime, provider)
    change(runtime, "UPDATE subscriptions SET verify_due_at = now() - interval '1 day'")
    verify_for(runtime, minutes=3)
    assert requested_syncs(runtime) == []


def test_a_dead_subscription_is_verified_again(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(addons=(AddonQuantity("adn_seat", 4),))
    change(
        runtime,
        "UPDATE subscriptions SET hint = hint + 1, dead_reason = 'gave up',"
        f" looked_at = now() - {DAY_AND_MORE}",
    )
    verify_for(runtime)
    run_requested_syncs(runtime)
    assert seats_of(runtime) == 9


def test_subscriptions_the_provider_never_knew_do_not_delay_others(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciling, "_FEWEST_VERIFIED", 1)
    known(runtime, provider)
    deliver(runtime, "msg_2", subscription_id="sub_never")
    sync(runtime, "sub_never")
    change(runtime, f"UPDATE subscriptions SET looked_at = now() - {DAY_AND_MORE}")
    for _ in range(2):
        verify_for(runtime)
        for name in ("sub_never", "sub_1"):
            sync_now(runtime, name)
    assert provider.retrieved.count("sub_1") == 2


# When it runs.


def test_reconcile_is_due_until_pass_and_verification_have_run(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(2), 1
    assert is_due(clocked_runtime)
    reconcile(clocked_runtime, until=ENDLESS)
    assert not is_due(clocked_runtime)
    clock.advance(timedelta(minutes=1))
    assert is_due(clocked_runtime)
    verify_for(clocked_runtime)
    assert not is_due(clocked_runtime)
    clock.advance(timedelta(hours=1))
    begin(clocked_runtime)
    verify_for(clocked_runtime)
    assert is_due(clocked_runtime)


def test_routine_syncs_use_their_own_part_of_the_budget(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    complete_pass(runtime)
    run_requested_syncs(runtime)
    assert [caller.value for caller in provider.callers] == ["webhook", "reconcile"]


def test_an_event_makes_a_routine_sync_urgent(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    complete_pass(runtime)
    deliver(runtime, "msg_2")
    run_requested_syncs(runtime)
    assert [caller.value for caller in provider.callers] == ["webhook", "webhook"]


def test_an_event_does_not_wait_out_the_pause_of_the_timers_budget(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    complete_pass(runtime)
    provider.failing = BudgetSpent("Nothing left for the timer.", retry_after=60)
    run_requested_syncs(runtime)
    provider.failing = None
    change(runtime, "UPDATE subscriptions SET verified_at = now() - interval '1 minute'")
    deliver(runtime, "msg_2")
    run_requested_syncs(runtime)
    assert the(runtime, Subscription).newest.quantity == 2


def test_a_request_during_a_routine_sync_does_not_wait_for_its_backoff(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    complete_pass(runtime)

    class BudgetSpentDuringARequest(FakeProvider):
        def retrieve(self, subscription_id, *, priority):
            with runtime.sessions.begin() as session:
                sync_queue.raise_hint(session, subscription_id)
            raise BudgetSpent("Nothing left for the timer.", retry_after=60)

    sync(replace(runtime, provider=BudgetSpentDuringARequest()), "sub_1")
    assert requested_syncs(runtime) == ["sub_1"]


def test_a_spent_budget_is_no_failure_of_the_subscription(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    complete_pass(runtime)
    provider.failing = BudgetSpent("Nothing left for the timer.", retry_after=60)
    run_requested_syncs(runtime)
    row = the(runtime, Subscription)
    assert (row.last_error, row.attempts) == (None, 0)


def test_a_routine_request_ends_no_backoff(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    deliver(runtime, "msg_2")
    provider.failing = TransientError("down", retry_after=3600)
    sync_now(runtime)
    waits_until = the(runtime, Subscription).next_at
    provider.failing = None
    complete_pass(runtime)
    assert (the(runtime, Subscription).next_at, the(runtime, Subscription).attempts) == (waits_until, 1)


def test_routine_wake_ups_are_limited(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(120)
    complete_pass(runtime)
    woken: list[str] = []
    sweep = Sweep(runtime, woken.extend)
    for _ in range(4):
        sweep.once()
    assert len(woken) == 50


def test_the_limit_holds_whatever_plan_the_database_chooses(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(120)
    complete_pass(runtime)
    with runtime.sessions.begin() as session:
        for other in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "indexscan", "bitmapscan"):
            session.execute(text(f"SET LOCAL enable_{other} = off"))
        due = sync_queue.due_to_wake(session, limit=500, routine_limit=50, again=timedelta(seconds=5))
    assert len(due.routine) == 50


def test_a_routine_request_does_not_make_a_pending_sync_routine(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime)
    complete_pass(runtime)
    run_requested_syncs(runtime)
    assert [caller.value for caller in provider.callers] == ["webhook"]


def test_a_spent_budget_ends_the_batch(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(20)
    complete_pass(runtime)
    provider.failing = BudgetSpent("Nothing left.", retry_after=30)
    drain(runtime, requested_syncs(runtime), threads=2)
    assert len(provider.retrieved) <= 3


def test_sightings_are_forgotten_with_their_pass(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(3), 1

    def sightings() -> int:
        with runtime.sessions() as session:
            return session.query(Sighting).count()

    begin(runtime, now=True)
    walk(runtime, until=0)
    assert sightings() == 1
    walk(runtime, until=ENDLESS)
    assert sightings() == 0
