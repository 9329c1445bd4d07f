"""Reconcile: what no webhook told is found, and only hinted at."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from models.subscription import Subscription
from runtime.wiring import Runtime
from seats.errors import TransientError
from seats.snapshot import AddonQuantity
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.worker.test_sync import deliver, look, seats_of, the
from worker import reconcile as reconciling
from worker.reconcile import reconcile
from worker.sync import sync

ENDLESS = float("inf")


def known(runtime: Runtime, provider: FakeProvider, **changes) -> None:
    provider.subscriptions["sub_1"] = a_snapshot(**changes)
    deliver(runtime)
    sync(runtime, "sub_1")


def pass_over(runtime: Runtime) -> int:
    with runtime.sessions.begin() as session:
        session.execute(text("DELETE FROM ticks"))
    return reconcile(runtime, until=ENDLESS)


def test_where_nothing_differs_nothing_is_asked(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    assert pass_over(runtime) == 0


def test_a_subscription_never_heard_of_is_found(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot(seats=2)
    assert pass_over(runtime) == 1
    look(runtime)
    assert seats_of(runtime) == 7


@pytest.mark.parametrize(
    "change",
    [
        {"status": "paused"},
        {"product_id": "pdt_soft"},
        {"quantity": 3},
        {"recurring_pre_tax_amount": 1},
        {"cancel_at_next_billing_date": True},
        {"next_billing_date": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_the_list_shows_is_looked_at(runtime: Runtime, provider: FakeProvider, change):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(**change)
    assert pass_over(runtime) == 1


def test_a_free_addon_is_found_within_the_time_to_verify(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(addons=(AddonQuantity("adn_seat", 4),))
    assert pass_over(runtime) == 0
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET looked_at = now() - interval '25 hours'"))
    assert pass_over(runtime) == 1
    look(runtime)
    assert seats_of(runtime) == 9


def test_reconcile_writes_no_snapshot_itself(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(status="cancelled")
    pass_over(runtime)
    assert the(runtime, Subscription).status == "active"


def test_within_one_period_there_is_one_pass(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions["sub_1"] = a_snapshot()
    assert reconcile(runtime, until=ENDLESS) == 1
    assert reconcile(runtime, until=ENDLESS) == 0


def test_a_provider_that_fails_ends_the_pass_quietly(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    def failing(**_):
        raise TransientError("down")

    monkeypatch.setattr(provider, "pages", failing)
    assert pass_over(runtime) == 0


def test_a_subscription_given_up_on_is_verified_again(runtime: Runtime, provider: FakeProvider):
    known(runtime, provider)
    provider.subscriptions["sub_1"] = a_snapshot(addons=(AddonQuantity("adn_seat", 4),))
    with runtime.sessions.begin() as session:
        session.execute(
            text(
                "UPDATE subscriptions SET hint = hint + 1, dead_reason = 'gave up',"
                " looked_at = now() - interval '25 hours'"
            )
        )
    assert pass_over(runtime) == 1
    look(runtime)
    assert seats_of(runtime) == 9


def test_those_the_provider_never_knew_do_not_stand_in_the_way_of_others(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconciling, "_FEWEST_TO_VERIFY", 1)
    known(runtime, provider)
    deliver(runtime, "msg_2", subscription_id="sub_never")
    sync(runtime, "sub_never")
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET looked_at = now() - interval '25 hours'"))
    for _ in range(2):
        pass_over(runtime)
        for name in ("sub_never", "sub_1"):
            look(runtime, name)
    assert provider.retrieved.count("sub_1") == 2


def test_a_list_longer_than_the_budget_is_read_to_its_end(runtime: Runtime, provider: FakeProvider):
    provider.subscriptions = {f"sub_{number}": a_snapshot(f"sub_{number}") for number in range(5)}
    provider.page_size, provider.page_budget = 1, 3
    assert pass_over(runtime) == 5
    assert provider.listed_pages == 5


def test_a_pass_that_the_database_ended_can_be_made_again(
    runtime: Runtime, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_, **__):
        raise OperationalError("SELECT", {}, Exception())

    provider.subscriptions["sub_1"] = a_snapshot()
    with monkeypatch.context() as broken:
        broken.setattr(reconciling, "_compare", failing)
        with pytest.raises(OperationalError):
            reconcile(runtime, until=ENDLESS)
    assert reconcile(runtime, until=ENDLESS) == 1
