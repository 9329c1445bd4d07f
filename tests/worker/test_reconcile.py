"""Reconcile: what no webhook told is found, and only hinted at."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from models.subscription import Subscription
from runtime.wiring import Runtime
from seats.errors import TransientError
from seats.snapshot import AddonQuantity
from tests.factories import a_snapshot
from tests.fakes import FakeProvider
from tests.worker.test_sync import deliver, look, seats_of, the
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
        session.execute(text("UPDATE subscriptions SET verified_at = now() - interval '25 hours'"))
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
