"""Each state that a confirmed change enters is one notice, however often its outcome is seen."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from domain.billing_terms import When
from domain.provider_errors import ChangeRefused
from models.notice import StoredNotice
from models.seat_change import SeatChange
from providers.dodo.declines import _CONFIDENTIAL, DECLINES
from runtime.wiring import Runtime
from services.purchases.cancel import cancel
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.purchases.settle import settle
from services.sync.on_demand import sync_subscription
from simulator import plan_operations
from simulator.billing.plan_request import AttachedAddon, PlanRequest
from simulator.billing.scheduled_change import drop_schedule
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.services.purchases.test_seat_changes import CART, long_ago, settles
from tests.services.sync.payment_events import payment_failed
from tests.services.sync.test_subscription import sync_now
from tests.simulated import sell


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, CART)


def changed(service: Runtime, full: int, when: When = When.NOW) -> SeatChange:
    request = SeatRequest(seats={"full": full}, when=when)
    return confirm(service, "acme", preview(service, "acme", request).token)


def sent(service: Runtime) -> list[tuple[str, dict[str, Any]]]:
    """The notices about changes, oldest first: type and data."""
    of_changes = select(StoredNotice).where(StoredNotice.type.startswith("seat_change."))
    with service.sessions() as session:
        return [(one.type, one.data) for one in session.scalars(of_changes.order_by(StoredNotice.id))]


def kinds(service: Runtime) -> list[str]:
    return [kind.removeprefix("seat_change.") for kind, _ in sent(service)]


def seen_again(service: Runtime, change: SeatChange) -> None:
    for _ in range(2):
        sync_subscription(service, change.subscription_id, patience=5)
        settle(service, change.id)


def test_a_change_that_is_applied_is_notified_once(service: Runtime, sold: str):
    change = changed(service, 23)
    seen_again(service, change)
    ((kind, data),) = sent(service)
    assert kind == "seat_change.applied"
    assert (data["change_id"], data["subscription_id"], data["when"]) == (change.id, sold, "now")
    assert data["seats"] == {"full": {"before": 18, "after": 23}}


def test_a_payment_that_comes_later_is_notified_when_the_seats_are_there(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "waits"})
    change = changed(service, 23)
    assert kinds(service) == []
    settles(world, sold, "succeeds")
    seen_again(service, change)
    assert kinds(service) == ["applied"]


def test_a_change_at_the_renewal_is_notified_when_scheduled_and_when_made(
    service: Runtime, world: World, sold: str
):
    change = changed(service, 12, When.AT_RENEWAL)
    seen_again(service, change)
    renewal = world.state.get(sold).next_billing_date
    world.apply(sold, actions.renew(world, Options()), silently=True)
    seen_again(service, change)
    assert kinds(service) == ["scheduled", "applied"]
    told = sent(service)[0][1]["effective_at"]
    assert told == renewal.isoformat().replace("+00:00", "Z")


def test_a_change_that_is_cancelled_here_is_notified(service: Runtime, sold: str):
    change = changed(service, 12, When.AT_RENEWAL)
    cancel(service, "acme", change.id)
    seen_again(service, change)
    assert kinds(service) == ["scheduled", "cancelled"]
    assert sent(service)[-1][1]["reason"].startswith("The change was cancelled here")


def test_a_change_that_is_cancelled_at_the_provider_is_notified(service: Runtime, world: World, sold: str):
    change = changed(service, 12, When.AT_RENEWAL)
    world.apply(sold, lambda subscription, _now: drop_schedule(subscription), silently=True)
    sync_subscription(service, sold, patience=5)
    assert kinds(service) == ["scheduled"]
    with service.sessions.begin() as session:
        missed = session.get_one(SeatChange, change.id)
        assert missed.missed_at is not None
        missed.missed_at -= 2 * (missed.next_at - missed.missed_at)
    seen_again(service, change)
    assert kinds(service) == ["scheduled", "cancelled"]
    assert "it was cancelled there" in sent(service)[-1][1]["reason"]


def test_a_refusal_of_the_provider_is_notified(service: Runtime, world: World, sold: str):
    """Somebody's own change at the provider waits for its payment, which no snapshot shows."""
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token
    world.board.turn({"plan_change_payment": "waits"})
    addons = tuple(AttachedAddon(one.addon_id, one.quantity + 1) for one in world.state.get(sold).addons)
    theirs = PlanRequest(
        product_id="pdt_team",
        quantity=1,
        addons=addons,
        proration_billing_mode="full_immediately",
        on_payment_failure="prevent_change",
    )
    plan_operations.change(world, sold, theirs, silently=True)
    with pytest.raises(ChangeRefused):
        confirm(service, "acme", token)
    ((kind, data),) = sent(service)
    assert (kind, data["code"]) == ("seat_change.failed", "change_in_progress")


def test_a_declined_card_is_notified_once_in_words(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    change = changed(service, 23)
    settles(world, sold, "fails")
    for _ in range(2):
        payment_failed(service, change, error_code="EXPIRED_CARD")
        sync_now(service, sold)
    ((kind, data),) = sent(service)
    assert kind == "seat_change.failed"
    assert data["reason"] == (
        "The payment failed (EXPIRED_CARD), and nothing has changed. The card has expired. Use a card that "
        "is still valid. Preview again if the change is still wanted."
    )


@pytest.mark.parametrize("code", sorted(_CONFIDENTIAL))
def test_a_customer_does_not_learn_that_a_card_is_stolen(
    service: Runtime, world: World, sold: str, code: str
):
    world.board.turn({"plan_change_payment": "waits"})
    payment_failed(service, changed(service, 23), error_code=code)
    sync_now(service, sold)
    assert sent(service)[0][1]["reason"] == (
        "The payment failed, and nothing has changed. The card was declined. Use another card, or ask the "
        "bank. Preview again if the change is still wanted."
    )


def test_an_unknown_code_is_passed_on_with_general_advice(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    payment_failed(service, changed(service, 23), error_code="CARD_ATE_BY_DOG")
    sync_now(service, sold)
    assert sent(service)[0][1]["reason"] == (
        "The payment failed (CARD_ATE_BY_DOG), and nothing has changed. The payment was declined. Use "
        "another payment method, or ask the bank. Preview again if the change is still wanted."
    )


@pytest.mark.parametrize("code", sorted(DECLINES))
def test_every_documented_code_has_a_sentence_and_advice(code: str):
    sentence, advice = DECLINES[code]
    assert sentence.endswith(".")
    assert advice.endswith(".")
    assert code not in sentence


def test_a_change_that_failed_and_is_seen_after_all_is_notified_of_both(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "waits"})
    change = changed(service, 23)
    payment_failed(service, change)
    sync_now(service, sold)
    settles(world, sold, "succeeds")
    seen_again(service, change)
    assert kinds(service) == ["failed", "applied"]
    assert sent(service)[-1][1]["code"] == "applied_late"


def test_a_failure_that_nobody_announces_is_notified(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    change = changed(service, 23)
    settles(world, sold, "fails")
    long_ago(service)
    seen_again(service, change)
    assert kinds(service) == ["failed"]
