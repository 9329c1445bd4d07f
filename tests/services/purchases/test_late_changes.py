"""A change that was reported as failed or cancelled is applied later: no member loses a seat by it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from domain.billing_terms import When
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.purchases import cancel
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.purchases.settle import settle
from services.sync.on_demand import sync_subscription
from simulator.billing.subscription import AddonUnits
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.services.purchases.test_seat_changes import CART, in_use, long_ago, seated, settles, the
from tests.services.sync.passes import drift
from tests.simulated import CHANGES, sell

PEOPLE = [f"member-{number}" for number in range(16)]


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    sold = sell(world, service, CART)
    seated(service, *PEOPLE)
    return sold


def failed(service: Runtime, world: World) -> SeatChange:
    """A reduction to 14 whose write was lost: nothing was to be seen of it in time."""
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": [CHANGES]})
    wish = SeatRequest(seats={"full": 14}, when=When.NOW, release="suggested")
    change = confirm(service, "acme", preview(service, "acme", wish).token)
    long_ago(service)
    world.board.turn({"api_cut_before_probability": 0.0})
    return settle(service, change.id)


def cancelled(service: Runtime, world: World) -> SeatChange:
    wish = SeatRequest(seats={"full": 14}, when=When.AT_RENEWAL, release="suggested")
    change = confirm(service, "acme", preview(service, "acme", wish).token)
    return cancel.cancel(service, "acme", change.id)


ENDS = {"failed": failed, "cancelled": cancelled}


def carried_out(service: Runtime, world: World, sold: str, change: SeatChange) -> None:
    """Somebody buys the very same cart."""
    cart = [AddonUnits(one["addon_id"], one["quantity"]) for one in change.plan["cart"]["addons"]]
    world.apply(sold, actions.set_cart(world, Options(addons=cart)), silently=True)
    sync_subscription(service, sold, patience=5)


def held(service: Runtime) -> list[str]:
    return [one.message for one in drift(service) if one.kind == "applied_late" and one.closed_at is None]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_nobody_is_released_by_a_change_that_was_over(service: Runtime, world: World, sold: str, end):
    change = end(service, world)
    assert change.state in {ChangeState.FAILED, ChangeState.CANCELLED}
    assert change.release
    carried_out(service, world, sold, change)
    left = change.seats["full"]["after"]
    assert (the(service, change).state, in_use(service)) == (ChangeState.APPLIED, (16, left, "over_limit"))


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_late_change_is_a_held_finding_about_the_members_to_release(
    service: Runtime, world: World, sold: str, end
):
    change = end(service, world)
    carried_out(service, world, sold, change)
    (message,) = held(service)
    assert change.id in message
    assert f"{len(change.release)} of the members" in message


def test_the_finding_is_held_until_these_members_are_released(service: Runtime, world: World, sold: str):
    change = failed(service, world)
    carried_out(service, world, sold, change)
    sync_subscription(service, sold, patience=5)
    assert len(held(service)) == 1
    with service.sessions.begin() as session:
        session.execute(
            text(
                "UPDATE assignments SET state = 'released', released_at = now() WHERE member_id = ANY(:gone)"
            ),
            {"gone": list(change.release)},
        )
    sync_subscription(service, sold, patience=5)
    assert held(service) == []


def test_without_members_to_release_there_is_no_finding(service: Runtime, world: World):
    sold = sell(world, service, CART)
    change = failed_without_people(service, world)
    carried_out(service, world, sold, change)
    assert (the(service, change).state, held(service)) == (ChangeState.APPLIED, [])


def failed_without_people(service: Runtime, world: World) -> SeatChange:
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": [CHANGES]})
    change = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 14})).token)
    long_ago(service)
    world.board.turn({"api_cut_before_probability": 0.0})
    return settle(service, change.id)


def test_a_change_that_is_open_releases_as_it_says(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    wish = SeatRequest(seats={"full": 14}, when=When.NOW, release="suggested")
    change = confirm(service, "acme", preview(service, "acme", wish).token)
    if change.state == ChangeState.SUBMITTED:
        settles(world, sold, "succeeds")
        sync_subscription(service, sold, patience=5)
    left = change.seats["full"]["after"]
    assert (the(service, change).state, in_use(service)) == (ChangeState.APPLIED, (left, left, "ok"))
