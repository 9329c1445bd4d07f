"""If the payment of a confirmed change fails, the change fails at once, with the reason."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from models.inbox import InboxState
from models.notice import StoredNotice
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.purchases.settle import settle
from services.sync.on_demand import sync_subscription
from simulator.world import World
from tests.services.purchases.test_seat_changes import CART, long_ago, purchased, settles, the
from tests.services.sync.payment_events import announced, payment_failed
from tests.services.sync.test_subscription import sync_now
from tests.simulated import sell


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, CART)


@pytest.fixture
def unpaid(service: Runtime, world: World, sold: str) -> SeatChange:
    """Five seats more, whose payment waits."""
    world.board.turn({"plan_change_payment": "waits"})
    return confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)


def notices(service: Runtime) -> list[dict]:
    with service.sessions() as session:
        told = session.scalars(select(StoredNotice).where(StoredNotice.type == "seat_change.failed"))
        return [one.data for one in told]


def test_the_event_of_a_failed_payment_fails_its_change_with_the_refusal(
    service: Runtime, world: World, unpaid: SeatChange
):
    settles(world, unpaid.subscription_id, "fails")
    assert payment_failed(service, unpaid) is InboxState.PENDING
    sync_now(service, unpaid.subscription_id)
    failed = the(service, unpaid)
    assert (failed.state, failed.code, failed.retry_helps) == (ChangeState.FAILED, "payment_failed", False)
    assert "INSUFFICIENT_FUNDS" in failed.message
    assert purchased(service) == 18


def test_the_app_is_notified_once(service: Runtime, world: World, unpaid: SeatChange):
    settles(world, unpaid.subscription_id, "fails")
    for _ in range(2):
        payment_failed(service, unpaid)
        sync_now(service, unpaid.subscription_id)
    (told,) = notices(service)
    assert (told["change_id"], told["code"]) == (unpaid.id, "payment_failed")
    assert "INSUFFICIENT_FUNDS" in told["reason"]


def test_a_failure_that_no_event_announces_is_notified_too(
    service: Runtime, world: World, unpaid: SeatChange
):
    settles(world, unpaid.subscription_id, "fails")
    long_ago(service)
    settle(service, unpaid.id)
    (told,) = notices(service)
    assert (told["change_id"], told["code"]) == (unpaid.id, "not_applied")


def test_a_change_that_the_retrieve_shows_as_paid_is_applied_whatever_an_event_said(
    service: Runtime, world: World, unpaid: SeatChange
):
    settles(world, unpaid.subscription_id, "succeeds")
    payment_failed(service, unpaid)
    sync_now(service, unpaid.subscription_id)
    assert (the(service, unpaid).state, purchased(service)) == (ChangeState.APPLIED, 23)
    assert notices(service) == []


def test_a_payment_that_comes_in_after_it_was_said_to_have_failed_counts(
    service: Runtime, world: World, unpaid: SeatChange
):
    payment_failed(service, unpaid)
    sync_now(service, unpaid.subscription_id)
    settles(world, unpaid.subscription_id, "succeeds")
    sync_subscription(service, unpaid.subscription_id, patience=5)
    assert (the(service, unpaid).state, purchased(service)) == (ChangeState.APPLIED, 23)


@pytest.mark.parametrize("error_code", [None, 7, "who@example.com says no", "insufficient funds"])
def test_only_a_code_of_the_provider_is_passed_on(service: Runtime, unpaid: SeatChange, error_code: object):
    payment_failed(service, unpaid, error_code=error_code)
    sync_now(service, unpaid.subscription_id)
    assert the(service, unpaid).message.startswith("The payment failed, and nothing has changed.")


def test_a_payment_of_another_subscription_fails_no_change_of_ours(
    service: Runtime, world: World, unpaid: SeatChange
):
    """A buyer may write anything into the metadata of a payment."""
    other = sell(world, service, CART, account_id="evil")
    payment_failed(service, unpaid, subscription_id=other)
    sync_now(service, other)
    assert the(service, unpaid).state == ChangeState.SUBMITTED


@pytest.mark.parametrize("metadata", [None, {}, {"seatsync_change_id": None}, {"seatsync_change_id": 7}, "x"])
def test_a_payment_that_is_of_no_change_is_ignored(service: Runtime, sold: str, metadata: object):
    assert announced(service, "payment.failed", sold, metadata=metadata) is InboxState.IGNORED


def test_a_payment_for_an_unknown_change_is_ignored(service: Runtime, unpaid: SeatChange):
    announced(
        service, "payment.failed", unpaid.subscription_id, metadata={"seatsync_change_id": "chg_unknown"}
    )
    sync_now(service, unpaid.subscription_id)
    assert the(service, unpaid).state == ChangeState.SUBMITTED
