"""Changes without an announcement: lost responses, and what others change beside our own changes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import select, text

from domain.billing_terms import Proration
from domain.errors import NotCancellable
from domain.provider_errors import TransientError
from models.audit import AuditRow
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.purchases import cancel, confirm, refresh
from services.purchases import settle as story
from services.purchases.preview import SeatRequest, preview
from services.sync.on_demand import sync_subscription
from simulator.billing.lifecycle import changed
from simulator.billing.subscription import AddonUnits
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.services.purchases.test_seat_changes import (
    CART,
    in_use,
    long_ago,
    purchased,
    scheduled,
    seated,
    settles,
    the,
)
from tests.services.sync.passes import drift
from tests.simulated import CHANGES, applied_writes, sell, units

CANCELLATIONS = "DELETE /subscriptions/<subscription_id>/change-plan/scheduled"
ADMIN = "key:admin"


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, CART)


def confirmed(service: Runtime, **wish) -> SeatChange:
    return confirm.confirm(service, "acme", preview(service, "acme", SeatRequest(**wish)).token, actor=ADMIN)


def settle_all(service: Runtime) -> None:
    """The next visit to every change, without the wait for it."""
    with service.sessions.begin() as session:
        session.execute(text("UPDATE seat_changes SET next_at = now()"))
    story.settle_due(service, until=time.monotonic() + 60)


def customer_buys(world: World, subscription_id: str, **addons: int) -> None:
    """In the provider's portal, beside us."""
    cart = _units({**CART, **addons})
    world.apply(subscription_id, actions.set_cart(world, Options(addons=cart)), silently=True)


def _units(addons: Mapping[str, int]) -> list[AddonUnits]:
    return [AddonUnits(name, count) for name, count in addons.items()]


# A cancellation whose answer is lost.

LOST = ["api_cut_probability", "api_cut_before_probability", "api_hang_probability", "api_500_probability"]


@pytest.mark.parametrize("fault", LOST)
def test_a_cancellation_whose_response_is_lost_is_retried(
    service: Runtime, world: World, sold: str, fault: str
):
    change = scheduled(service)
    world.board.turn({fault: 1.0, "api_fault_routes": [CANCELLATIONS]})
    cancel.cancel(service, "acme", change.id)
    world.board.turn({fault: 0.0})
    settle_all(service)
    assert the(service, change).state == ChangeState.CANCELLED
    assert world.state.get(sold).scheduled_change is None


def test_a_cancellation_that_never_arrived_releases_nobody_at_the_renewal(
    service: Runtime, world: World, sold: str
):
    seated(service, *(f"member-{number}" for number in range(12)))
    change = scheduled(service, release="suggested")
    planned = world.state.get(sold).scheduled_change
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": [CANCELLATIONS]})
    cancel.cancel(service, "acme", change.id)
    world.apply(sold, lambda one, _: changed(replace(one, scheduled_change=None)), silently=True)
    sync_subscription(service, sold, patience=5)
    world.apply(sold, lambda one, _: changed(replace(one, scheduled_change=planned)), silently=True)
    world.apply(sold, actions.renew(world, Options()), silently=True)
    sync_subscription(service, sold, patience=5)
    assert the(service, change).state == ChangeState.APPLIED
    assert in_use(service) == (12, change.seats["full"]["after"], "over_limit")


# What others change.


def test_a_change_in_the_portal_beside_our_scheduled_one_is_drift(service: Runtime, world: World, sold: str):
    scheduled(service)
    customer_buys(world, sold, adn_viewer=9)
    sync_subscription(service, sold, patience=5)
    assert "addons" in {one.field for one in drift(service)}


def test_our_own_changes_are_no_drift(service: Runtime, world: World, sold: str):
    confirmed(service, seats={"full": 23})
    change = scheduled(service)
    cancel.cancel(service, "acme", change.id)
    assert drift(service) == []


def test_a_change_overtaken_before_it_was_seen_is_reported_as_overtaken(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"api_cut_probability": 1.0, "api_500_probability": 0.0, "api_fault_routes": [CHANGES]})
    previewed = preview(service, "acme", SeatRequest(seats={"full": 23}))
    looks = {"api_500_probability": 1.0, "api_cut_probability": 0.0, "api_fault_routes": ["GET *"]}
    send = service.provider.change

    def send_and_go_blind(*args, **more):
        try:
            send(*args, **more)
        finally:
            world.board.turn(looks)

    service.provider.change = send_and_go_blind
    change = confirm.confirm(service, "acme", previewed.token, actor=ADMIN)
    customer_buys(world, sold, adn_seat=5)
    world.board.turn({"api_500_probability": 0.0})
    long_ago(service)
    settle_all(service)
    found = the(service, change)
    assert (found.state, found.code, found.retry_helps) == (ChangeState.FAILED, "overtaken", False)
    assert "Nothing has changed" not in found.message
    assert applied_writes(world) == 1


# Money, and names.


def test_a_reduction_that_costs_something_is_not_made_unless_it_is_paid(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "fails"})
    change = confirmed(service, seats={"full": 16}, proration=Proration.FULL_IMMEDIATELY)
    long_ago(service)
    settle_all(service)
    assert (the(service, change).state, units(world, sold)) == (ChangeState.FAILED, CART)
    assert world.state.get(sold).status == "active"


def test_the_audit_names_who_confirmed_the_change_that_moved_the_seats(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "waits"})
    change = confirmed(service, seats={"full": 23})
    settles(world, sold, "succeeds")
    sync_subscription(service, sold, patience=5)
    assert purchased(service) == 23
    with service.sessions() as session:
        row = session.scalars(select(AuditRow).order_by(AuditRow.id.desc())).first()
    assert (row.actor, row.source, row.reason) == (ADMIN, "seat_change", f"seat change {change.id}")


def test_a_change_renewed_before_its_cancellation_is_not_reported_as_cancelled(
    service: Runtime, world: World, sold: str
):
    change = scheduled(service)
    world.apply(sold, actions.renew(world, Options()), silently=True)
    with pytest.raises(NotCancellable, match="The change is applied"):
        cancel.cancel(service, "acme", change.id)


def test_the_providers_retry_after_is_passed_on_when_a_sync_fails(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    world.board.turn({"api_429_probability": 1.0, "retry_after": "37", "api_fault_routes": ["GET *"]})
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)
    with pytest.raises(TransientError) as away:
        preview(service, "acme", SeatRequest(seats={"full": 23}))
    assert 30 < away.value.retry_after <= 37


def test_the_same_cart_months_after_a_cancellation_releases_nobody_who_was_named_then(
    service: Runtime, world: World, sold: str
):
    seated(service, *(f"member-{number}" for number in range(12)))
    change = scheduled(service, release="suggested")
    cancel.cancel(service, "acme", change.id)
    long_ago(service)
    with service.sessions.begin() as session:
        kept = session.get_one(SeatChange, change.id)
        months_ago = (datetime.now(UTC) - timedelta(days=90)).isoformat()
        kept.history = [{**step, "at": months_ago} for step in kept.history]
    planned = {one["addon_id"]: one["quantity"] for one in change.plan["cart"]["addons"]}
    world.apply(sold, actions.set_cart(world, Options(addons=_units(planned))), silently=True)
    sync_subscription(service, sold, patience=5)
    assert (the(service, change).state, in_use(service)) == (ChangeState.CANCELLED, (12, 10, "over_limit"))


def test_a_cancellation_without_effect_is_retried_with_growing_pauses(
    service: Runtime, world: World, sold: str
):
    change = scheduled(service)
    world.board.turn({"api_500_probability": 1.0, "api_fault_routes": [CANCELLATIONS]})
    cancel.cancel(service, "acme", change.id)
    pauses = []
    for _ in range(4):
        settle_all(service)
        with service.sessions() as session:
            pause = text("SELECT extract(epoch FROM next_at - now()) FROM seat_changes")
            pauses.append(float(session.scalar(pause)))
    assert all(later > sooner * 1.5 for sooner, later in pairwise(pauses))


def test_what_the_customer_buys_between_syncs_is_not_taken_for_our_plan(
    service: Runtime, world: World, sold: str
):
    send = service.provider.change

    def customer_buys_meanwhile(*args, **more):
        send(*args, **more)
        customer_buys(world, sold, adn_viewer=9)

    service.provider.change = customer_buys_meanwhile
    change = scheduled(service)
    assert the(service, change).state == ChangeState.SCHEDULED
    fields = {one.field for one in drift(service)}
    assert ("addons" in fields, "scheduled_change" in fields) == (True, False)
    with service.sessions() as session:
        row = session.scalars(select(AuditRow).order_by(AuditRow.id.desc())).first()
    assert row.actor == "provider:dodo"
