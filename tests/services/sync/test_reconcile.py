"""Reconcile: what no webhook told is found, and only asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from domain.errors import BudgetSpent, TransientError
from domain.snapshot import AddonQuantity, ScheduledChange, SubscriptionSnapshot
from models import reconcile_pass, sync_queue
from models.subscription import Subscription
from providers.base import ListPage
from runtime.wiring import Runtime
from services.sync import list_comparison
from services.sync import reconcile as reconciling
from services.sync.batch import drain
from services.sync.reconcile import begin, is_due, reconcile, walk
from services.sync.subscription import sync
from tests.clock import Clock
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.services.sync.passes import ENDLESS, asked_for, drift, pass_over, the_pass, turns_of, work_off
from tests.services.sync.test_subscription import deliver, look, seats_of, the
from worker.sweep import Sweep

pytestmark = pytest.mark.long(seconds=20)

DAY_AND_MORE = "interval '25 hours'"


def known(runtime: Runtime, provider: FakeProvider, *names: str, **changes) -> None:
    """Sold, told by a webhook, and looked at."""
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


def test_where_nothing_differs_nothing_is_asked(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    pass_over(runtime)
    assert asked_for(runtime) == []


def test_a_subscription_never_heard_of_is_found(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(seats=2)
    assert pass_over(runtime).unheard_of == 1
    work_off(runtime)
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
def test_a_change_the_list_shows_is_asked_for(runtime: Runtime, provider: FakeProvider, changed):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(**changed)
    assert pass_over(runtime).differing == 1
    assert asked_for(runtime) == ["sub_1"]


def test_reconcile_writes_no_snapshot_itself(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(status="cancelled")
    pass_over(runtime)
    assert the(runtime, Subscription).status == "active"


def test_what_the_list_no_longer_shows_is_asked_for_before_anything_is_believed(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider, "sub_1", "sub_2", seats=2)
    del provider.subscriptions["sub_2"]
    assert pass_over(runtime).vanished == 1
    assert asked_for(runtime) == ["sub_2"]
    assert seats_of(runtime) == 14


def test_what_is_known_to_be_missing_is_not_asked_for_in_every_pass(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider, "sub_1", "sub_2")
    del provider.subscriptions["sub_2"]
    pass_over(runtime)
    work_off(runtime)
    assert pass_over(runtime).vanished == 0


def test_what_a_webhook_told_first_is_not_taken_for_vanished(runtime: Runtime, provider: FakeProvider):
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


def test_a_list_that_a_look_disproved_is_asked_about_again_but_is_no_second_finding(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider)
    provider.listed_otherwise = {"sub_1": a_snapshot(quantity=9)}
    for _ in range(3):
        assert pass_over(runtime).differing == 1
        work_off(runtime)
    assert [one.state for one in drift(runtime)] == ["agreed"]


def test_what_went_back_and_forth_is_found_though_the_list_was_once_disproved(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider)
    provider.listed_otherwise = {"sub_1": a_snapshot(status="on_hold")}
    pass_over(runtime)
    work_off(runtime)
    provider.subscriptions["sub_1"] = a_snapshot(status="on_hold")
    pass_over(runtime)
    work_off(runtime)
    assert the(runtime, Subscription).status == "on_hold"


def test_what_a_webhook_has_told_and_nobody_has_looked_at_yet_is_no_finding(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=3)
    deliver(runtime, "msg_2")
    assert pass_over(runtime).differing == 1
    assert drift(runtime) == []


def test_a_page_that_is_older_than_our_last_look_is_no_finding(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider, "sub_1", "sub_2")
    provider.page_size = 1
    provider.listed_otherwise = {"sub_1": a_snapshot(quantity=9)}

    def somebody_looks() -> None:
        deliver(runtime, "msg_3")
        look(runtime)

    provider.between_pages = somebody_looks
    pass_over(runtime)
    assert drift(runtime) == []


def test_a_subscription_whose_list_item_cannot_be_read_is_found_by_its_id(
    runtime: Runtime, provider: FakeProvider
):
    provider.subscriptions["sub_odd"] = a_snapshot("sub_odd")
    provider.unreadable = {"sub_odd"}
    pass_over(runtime)
    assert asked_for(runtime) == ["sub_odd"]
    work_off(runtime)
    assert pass_over(runtime).vanished == 0
    assert asked_for(runtime) == []


def test_what_was_not_at_the_provider_and_is_listed_again_is_asked_for(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider)
    sold = provider.subscriptions.pop("sub_1")
    deliver(runtime, "msg_2")
    look(runtime)
    assert [one.state for one in drift(runtime)] == ["held"]
    provider.subscriptions["sub_1"] = sold
    pass_over(runtime)
    work_off(runtime)
    assert [one.state for one in drift(runtime)] == ["agreed"]


def test_what_the_list_never_shows_is_asked_for_once(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider, "sub_1", "sub_2")
    provider.hidden = {"sub_2"}
    assert [pass_over(runtime).vanished for _ in range(3)] == [1, 0, 0]
    provider.hidden = set()
    pass_over(runtime)
    provider.hidden = {"sub_2"}
    assert pass_over(runtime).vanished == 1


def test_a_row_without_a_fingerprint_is_compared_by_what_is_kept(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    change(runtime, "UPDATE subscriptions SET fingerprint = NULL")
    assert pass_over(runtime).differing == 0
    assert the(runtime, Subscription).fingerprint is not None


# Pages, pauses and what comes between.


def test_within_one_period_there_is_one_pass(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    for _ in range(2):
        reconcile(runtime, until=ENDLESS)
    assert provider.listed_pages == 1


def test_a_pass_goes_on_where_it_was_stopped(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(5), 1
    begin(runtime, now=True)
    for _ in range(4):
        walk(runtime, until=0)
    assert (provider.listed_pages, the_pass(runtime).finished_at) == (4, None)
    walk(runtime, until=ENDLESS)
    assert provider.listed_pages == 5
    assert the_pass(runtime).finished_at is not None
    assert len(asked_for(runtime)) == 5


def test_while_one_reads_a_second_scheduler_does_nothing(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(3), 1

    def another_scheduler_comes() -> None:
        pages = provider.listed_pages
        reconcile(runtime, until=ENDLESS)
        assert provider.listed_pages == pages

    provider.between_pages = another_scheduler_comes
    assert pass_over(runtime).listed == 3


def test_a_walker_that_was_overtaken_writes_nothing(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(2), 1

    def another_takes_the_pass() -> None:
        provider.between_pages = None
        change(runtime, "UPDATE reconcile_passes SET fence = fence + 1")

    provider.between_pages = another_takes_the_pass
    pass_over(runtime)
    assert (the_pass(runtime).next_page, asked_for(runtime)) == (0, [])


def test_the_pass_of_a_walker_that_died_is_taken_up_when_its_lease_is_over(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(2), 1

    def dies() -> None:
        raise KeyboardInterrupt

    provider.between_pages = dies
    with pytest.raises(KeyboardInterrupt):
        pass_over(clocked_runtime)
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
    pass_over(clocked_runtime)
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
    pass_over(clocked_runtime)
    provider.subscriptions = many(40)
    clock.advance(timedelta(hours=1))
    for _ in range(59):
        reconcile(clocked_runtime, until=ENDLESS)
        clock.advance(timedelta(minutes=1))
    assert the_pass(clocked_runtime).finished_at is not None


def test_one_who_waits_while_a_page_is_read_need_not_wait_either(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(3), 1
    pass_over(clocked_runtime)
    clock.advance(timedelta(hours=1))
    reconcile(clocked_runtime, until=ENDLESS)
    clock.advance(timedelta(minutes=10))
    provider.between_pages = lambda: begin(clocked_runtime, now=True)
    walk(clocked_runtime, until=0)
    assert the_pass(clocked_runtime).next_at == clock.now


def test_whoever_waits_for_a_pass_need_not_wait_for_its_pauses(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(3), 1
    pass_over(runtime)
    reconcile(runtime, until=ENDLESS)
    assert provider.listed_pages == 4
    assert pass_over(runtime).finished_at is not None
    assert provider.listed_pages == 6


def test_a_spent_budget_is_waited_for_without_holding_the_pass(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(5), 1
    provider.page_budget = 3
    pass_over(clocked_runtime)
    waiting = the_pass(clocked_runtime)
    assert (waiting.next_page, waiting.lease_until, waiting.failures) == (3, None, 0)
    clock.advance(timedelta(seconds=1))
    walk(clocked_runtime, until=ENDLESS)
    assert (the_pass(clocked_runtime).listed, provider.listed_pages) == (5, 5)


def test_a_provider_that_fails_is_tried_again_later_and_later(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions["sub_1"] = a_snapshot()
    provider.failing_pages = TransientError("down")
    pauses = []
    for _ in range(4):
        pass_over(clocked_runtime)
        pauses.append(the_pass(clocked_runtime).next_at - clock.now)
        clock.set(the_pass(clocked_runtime).next_at)
    assert pauses == sorted(pauses)
    assert the_pass(clocked_runtime).last_error == "down"
    provider.failing_pages = None
    walk(clocked_runtime, until=ENDLESS)
    assert (the_pass(clocked_runtime).listed, the_pass(clocked_runtime).last_error) == (1, None)


def test_a_page_that_fails_for_ever_does_not_keep_the_next_pass_from_beginning(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(2), 1
    pass_over(clocked_runtime)
    work_off(clocked_runtime)
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
    assert asked_for(clocked_runtime) == []


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
            pass_over(runtime)
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
    assert pass_over(runtime).finished_at is not None
    assert provider.listed_pages == 3
    pass_over(runtime)
    assert provider.listed_pages == 5
    change(runtime, f"UPDATE reconcile_passes SET end_seen_at = end_seen_at - {DAY_AND_MORE}")
    pass_over(runtime)
    assert provider.listed_pages == 8


def test_an_end_is_not_believed_where_the_newest_do_not_come_first(of_four: tuple[Runtime, NewestFirst]):
    runtime, provider = of_four
    provider.subscriptions = dict(reversed(provider.subscriptions.items()))
    for _ in range(2):
        pass_over(runtime)
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
        work_off(clocked_runtime)
    assert seats_of(clocked_runtime) == 9


def test_those_looked_at_in_one_go_are_verified_one_by_one(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciling, "_FEWEST_A_TURN", 5)
    provider.subscriptions = many(60)
    pass_over(clocked_runtime)
    work_off(clocked_runtime)
    provider.retrieved.clear()
    by_hour = []
    for _ in range(24):
        clock.advance(timedelta(hours=1))
        before = len(provider.retrieved)
        for _ in range(3):
            turns_of(clocked_runtime)
            work_off(clocked_runtime)
        by_hour.append(len(provider.retrieved) - before)
    assert set(provider.retrieved) == set(provider.subscriptions)
    assert by_hour[:12] == [0] * 12
    assert max(by_hour) <= 10


def test_a_subscription_given_up_on_is_verified_again(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(addons=(AddonQuantity("adn_seat", 4),))
    change(
        runtime,
        "UPDATE subscriptions SET hint = hint + 1, dead_reason = 'gave up',"
        f" looked_at = now() - {DAY_AND_MORE}",
    )
    turns_of(runtime)
    work_off(runtime)
    assert seats_of(runtime) == 9


def test_those_the_provider_never_knew_do_not_stand_in_the_way_of_others(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciling, "_FEWEST_A_TURN", 1)
    known(runtime, provider)
    deliver(runtime, "msg_2", subscription_id="sub_never")
    sync(runtime, "sub_never")
    change(runtime, f"UPDATE subscriptions SET looked_at = now() - {DAY_AND_MORE}")
    for _ in range(2):
        turns_of(runtime)
        for name in ("sub_never", "sub_1"):
            look(runtime, name)
    assert provider.retrieved.count("sub_1") == 2


# Who rings.


def test_reconcile_is_due_until_both_gears_have_done_their_part(
    clocked_runtime: Runtime, provider: FakeProvider, clock: Clock
):
    provider.subscriptions, provider.page_size = many(2), 1
    assert is_due(clocked_runtime)
    reconcile(clocked_runtime, until=ENDLESS)
    assert not is_due(clocked_runtime)
    clock.advance(timedelta(minutes=1))
    assert is_due(clocked_runtime)
    turns_of(clocked_runtime)
    assert not is_due(clocked_runtime)
    clock.advance(timedelta(hours=1))
    begin(clocked_runtime)
    turns_of(clocked_runtime)
    assert is_due(clocked_runtime)


def test_what_only_the_timer_asks_for_draws_on_its_own_part_of_the_budget(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    pass_over(runtime)
    work_off(runtime)
    assert [caller.value for caller in provider.callers] == ["webhook", "reconcile"]


def test_an_event_makes_a_routine_look_urgent(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    pass_over(runtime)
    deliver(runtime, "msg_2")
    work_off(runtime)
    assert [caller.value for caller in provider.callers] == ["webhook", "webhook"]


def test_an_event_does_not_wait_out_the_pause_of_the_timers_budget(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    pass_over(runtime)
    provider.failing = BudgetSpent("Nothing left for the timer.", retry_after=60)
    work_off(runtime)
    provider.failing = None
    change(runtime, "UPDATE subscriptions SET verified_at = now() - interval '1 minute'")
    deliver(runtime, "msg_2")
    work_off(runtime)
    assert the(runtime, Subscription).newest.quantity == 2


def test_whoever_begins_to_wait_during_a_routine_look_does_not_wait_out_its_pause(
    runtime: Runtime, provider: FakeProvider
):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    pass_over(runtime)

    class Overtaken(FakeProvider):
        def retrieve(self, subscription_id, *, caller):
            with runtime.sessions.begin() as session:
                sync_queue.raise_hint(session, subscription_id)
            raise BudgetSpent("Nothing left for the timer.", retry_after=60)

    sync(replace(runtime, provider=Overtaken()), "sub_1")
    assert asked_for(runtime) == ["sub_1"]


def test_a_spent_budget_is_no_failure_of_the_subscription(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    pass_over(runtime)
    provider.failing = BudgetSpent("Nothing left for the timer.", retry_after=60)
    work_off(runtime)
    row = the(runtime, Subscription)
    assert (row.last_error, row.attempts) == (None, 0)


def test_the_timer_hastens_nobody_who_waits_out_a_failure(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(quantity=2)
    deliver(runtime, "msg_2")
    provider.failing = TransientError("down", retry_after=3600)
    look(runtime)
    waits_until = the(runtime, Subscription).next_at
    provider.failing = None
    pass_over(runtime)
    assert (the(runtime, Subscription).next_at, the(runtime, Subscription).attempts) == (waits_until, 1)


def test_no_more_routine_looks_are_rung_for_than_can_be_heard(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(120)
    pass_over(runtime)
    rung: list[str] = []
    sweep = Sweep(runtime, rung.extend)
    for _ in range(4):
        sweep.once()
    assert len(rung) == 50


def test_no_more_are_rung_for_by_a_plan_that_asks_anew_for_every_row(
    runtime: Runtime, provider: FakeProvider
):
    provider.subscriptions = many(120)
    pass_over(runtime)
    with runtime.sessions.begin() as session:
        for other in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "indexscan", "bitmapscan"):
            session.execute(text(f"SET LOCAL enable_{other} = off"))
        due = sync_queue.take_due(session, limit=500, routine_limit=50, again=timedelta(seconds=5))
    assert len(due.routine) == 50


def test_a_routine_look_does_not_slow_down_one_that_was_asked_for(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    deliver(runtime)
    pass_over(runtime)
    work_off(runtime)
    assert [caller.value for caller in provider.callers] == ["webhook"]


def test_a_spent_budget_ends_the_looks_of_this_round(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = many(3)
    pass_over(runtime)
    provider.failing = BudgetSpent("Nothing left.", retry_after=30)
    assert drain(runtime, asked_for(runtime)) == 1
    assert len(provider.retrieved) == 1


def test_sightings_are_forgotten_with_their_pass(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions, provider.page_size = many(3), 1

    def sightings() -> int:
        with runtime.sessions() as session:
            return session.query(reconcile_pass.Sighting).count()

    begin(runtime, now=True)
    walk(runtime, until=0)
    assert sightings() == 1
    walk(runtime, until=ENDLESS)
    assert sightings() == 0
