"""A declined card: each attempt counts, the pauses double, and after three failures purchases stop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from domain.errors import NoSeatAvailable
from models import purchase_reset
from models.notice import StoredNotice
from models.seat_change import SeatChange
from runtime.wiring import Runtime
from services.ledger import purchase_limits
from services.ledger.locked_account import lock_account
from services.ledger.purchase_limits import AccountView
from services.purchases import auto_expand as buying
from services.purchases import confirm
from services.purchases.preview import SeatRequest, preview
from simulator.world import World
from tests.services.purchases.auto_expand.setup_helpers import (
    claim,
    come_again,
    long_ago,
    people,
    reason,
    sent,
    settle,
    with_catalog,
)
from tests.services.sync.payment_events import announced, payment_failed
from tests.services.sync.test_subscription import sync_now
from tests.simulated import CHANGES


@pytest.fixture
def declined(service: Runtime, world: World, sold: str) -> Callable[..., None]:
    """Somebody claims and the card is declined, each time long after the time before."""
    world.board.turn({"plan_change_payment": "fails"})

    def declined(*member_ids: str) -> None:
        for member_id in member_ids:
            hours_pass(service)
            claim(service, member_id)
            buying.expand(service, "acme")
            long_ago(service)
            settle(service)
            come_again(service)
            assert people(service)[member_id] == "released"

    return declined


def hours_pass(service: Runtime) -> None:
    """What has failed has failed hours ago, on the same day."""
    with service.sessions.begin() as session:
        for change in session.scalars(select(SeatChange)):
            change.history = [{**step, "at": "2026-11-22T00:00:00+00:00"} for step in change.history]


def purse(service: Runtime):
    with service.sessions.begin() as session:
        return purchase_limits.daily_budget(
            session, AccountView.of(lock_account(session, "acme")), service.catalog, ["full"]
        )


def rest(service: Runtime) -> timedelta:
    with service.sessions() as session:
        failures = purchase_limits.failures_of(session, "acme")
        until = purchase_limits.paused_until(session, "acme", failures)
    assert until is not None
    return until - failures[0].moved_at


def notices(service: Runtime) -> list[dict]:
    with service.sessions() as session:
        told = session.scalars(select(StoredNotice).where(StoredNotice.type == "seat.purchases_stopped"))
        return [one.data for one in told]


def test_declined_attempts_count_against_the_daily_limit(service: Runtime, declined, world: World):
    declined("eve", "fay")
    assert purse(service).today == 2
    of_two = with_catalog(service, {"\n[roles]": "auto_expand_limit = 2\n[roles]"})
    hours_pass(service)
    with pytest.raises(NoSeatAvailable, match="2 of 2 seats were bought automatically today"):
        claim(of_two, "gil")


def test_the_pause_doubles(service: Runtime, declined):
    declined("eve")
    assert rest(service) == timedelta(minutes=1)
    declined("fay")
    assert rest(service) == timedelta(minutes=2)


def test_during_the_pause_the_card_is_not_charged(service: Runtime, declined, world: World):
    declined("eve", "fay")
    before = sent(world)
    with pytest.raises(NoSeatAvailable, match="The next attempt is made after"):
        claim(service, "gil")
    assert sent(world) == before


def test_after_three_failures_in_a_row_nothing_is_bought_any_more(service: Runtime, declined, world: World):
    declined("eve", "fay", "gil")
    before = sent(world)
    hours_pass(service)
    with pytest.raises(NoSeatAvailable, match="The last 3 purchases failed") as refused:
        claim(service, "hal")
    assert refused.value.details["purchases_stopped"] is True
    come_again(service)
    assert sent(world) == before


def test_the_app_is_notified_once_when_it_stops(service: Runtime, declined):
    declined("eve", "fay")
    assert notices(service) == []
    declined("gil")
    hours_pass(service)
    with pytest.raises(NoSeatAvailable):
        claim(service, "hal")
    come_again(service)
    (told,) = notices(service)
    assert (told["failures"], told["code"]) == (3, "not_applied")


def test_a_successful_purchase_resets_the_count(service: Runtime, declined, world: World):
    declined("eve", "fay")
    world.board.turn({"plan_change_payment": "succeeds"})
    hours_pass(service)
    claim(service, "gil")
    buying.expand(service, "acme")
    assert (people(service)["gil"], purse(service).failures) == ("active", 0)
    world.board.turn({"plan_change_payment": "fails"})
    declined("hal")
    assert purse(service).failures == 1


def a_person(service: Runtime, sold: str) -> None:
    with service.sessions.begin() as session:
        purchase_reset.reset(session, "acme", "key:operator")


def a_renewal(service: Runtime, sold: str) -> None:
    announced(service, "subscription.renewed", sold, payment_id="pay_1")
    sync_now(service, sold)


def a_new_card(service: Runtime, sold: str) -> None:
    announced(service, "subscription.update_payment_method", sold)
    sync_now(service, sold)


def a_seat_change(service: Runtime, sold: str) -> None:
    change = preview(service, "acme", SeatRequest(seats={"viewer": 1}))
    confirm.confirm(service, "acme", change.token)


TURNED_ON = {
    "a person": a_person,
    "a renewal that was paid": a_renewal,
    "a new payment method": a_new_card,
    "a seat change that was applied": a_seat_change,
}


@pytest.mark.parametrize("turn_on", TURNED_ON.values(), ids=TURNED_ON)
def test_it_is_turned_on_again(service: Runtime, declined, world: World, sold: str, turn_on):
    declined("eve", "fay", "gil")
    world.board.turn({"plan_change_payment": "succeeds"})
    turn_on(service, sold)
    claim(service, "hal")
    buying.expand(service, "acme")
    assert people(service)["hal"] == "active"


def test_an_event_without_a_payment_turns_nothing_on(service: Runtime, declined, sold: str):
    declined("eve", "fay", "gil")
    announced(service, "subscription.updated", sold)
    sync_now(service, sold)
    assert purse(service).is_stopped


def test_claims_that_are_pending_when_it_stops_are_refused(service: Runtime, declined, world: World):
    declined("eve", "fay")
    hours_pass(service)
    claim(service, "gil")
    buying.expand(service, "acme")
    claim(service, "hal")
    long_ago(service)
    settle(service)
    come_again(service)
    assert {people(service)[name] for name in ("gil", "hal")} == {"released"}
    assert "The last 3 purchases failed" in reason(service, "hal")


def test_a_failure_announced_by_an_event_counts_like_one_found_by_a_sync(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve")
    buying.expand(service, "acme")
    with service.sessions() as session:
        change = session.scalars(select(SeatChange)).one()
    payment_failed(service, change)
    sync_now(service, sold)
    come_again(service)
    assert (people(service)["eve"], purse(service).failures) == ("released", 1)
    assert "INSUFFICIENT_FUNDS" in reason(service, "eve")


def test_after_two_purchases_without_a_response_a_claim_is_refused_for_now(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": [CHANGES]})
    claim(service, "eve")
    for _ in range(2):
        buying.expand(service, "acme")
        long_ago(service)
        settle(service)
        with service.sessions.begin() as session:
            session.execute(text("UPDATE expansions SET next_at = now(), lease_until = NULL"))
    with pytest.raises(NoSeatAvailable, match="The next attempt is made after"):
        claim(service, "fay")
