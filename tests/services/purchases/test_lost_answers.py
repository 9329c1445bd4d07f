"""Changes whose response was lost: sent once, and in the end in the state that the provider shows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from domain.billing_terms import When
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.purchases.settle import settle
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.services.purchases.test_seat_changes import CART, in_use, long_ago, resynced, seated
from tests.simulated import CHANGES, applied_writes, sell
from tests.waiting import wait_until


@dataclass(frozen=True)
class Asked:
    """A wish, where it ends if it was granted, and then: people on full seats, and full seats bought."""

    wish: SeatRequest
    ends: ChangeState
    leaves: tuple[int, int]


CHANGED = {
    "more now": Asked(SeatRequest(seats={"full": 23}), ChangeState.APPLIED, (12, 23)),
    "fewer now": Asked(SeatRequest(seats={"full": 10}, release="suggested"), ChangeState.APPLIED, (10, 10)),
    "fewer at the renewal": Asked(
        SeatRequest(seats={"full": 10}, release="suggested", when=When.AT_RENEWAL),
        ChangeState.SCHEDULED,
        (12, 18),
    ),
}
# The knob, by which name the provider notes that it struck, and whether the work had been done by then.
LOST = {
    "cut after the work": ("api_cut_probability", "cut", True),
    "cut before the work": ("api_cut_before_probability", "cut_before", False),
    "no answer in time": ("api_hang_probability", "hang", True),
}


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Eighteen full seats, and twelve people on them."""
    sold = sell(world, service, CART)
    seated(service, *(f"member-{number}" for number in range(12)))
    return sold


def lose_the_answer(service: Runtime, world: World, wish: SeatRequest, fault: str) -> tuple[str, SeatChange]:
    """The token and the change that was confirmed by it while the fault was there."""
    knob, name, _ = LOST[fault]
    token = preview(service, "acme", wish).token
    world.board.turn({knob: 1.0, "api_hang_seconds": 1.2, "api_fault_routes": [CHANGES]})
    change = confirm(service, "acme", token)
    wait_until(lambda: counted(world, "faults").get(name), "the provider notes what it did", seconds=5)
    world.board.turn({knob: 0.0})
    return token, change


def counted(world: World, what: str) -> dict[str, int]:
    told = world.requests.report(0)[what]
    assert isinstance(told, dict)
    return told


def asked_once(world: World, fault: str) -> bool:
    """True if one change was sent, its response lost, and the change applied or not as the fault says."""
    _, name, is_done = LOST[fault]
    return (
        counted(world, "routes")[CHANGES],
        counted(world, "faults")[name],
        applied_writes(world),
    ) == (1, 1, int(is_done))


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("asked", CHANGED.values(), ids=CHANGED)
def test_it_ends_as_the_provider_has_it_and_was_sent_once(
    service: Runtime, world: World, sold: str, asked: Asked, fault: str
):
    token, change = lose_the_answer(service, world, asked.wish, fault)
    long_ago(service)
    ended = settle(service, change.id)
    is_done = LOST[fault][2]
    assert ended.state == (asked.ends if is_done else ChangeState.FAILED)
    assert in_use(service) == (*(asked.leaves if is_done else (12, 18)), "ok")
    assert confirm(service, "acme", token).state == ended.state
    assert asked_once(world, fault)


@pytest.mark.parametrize("fault", LOST)
def test_a_change_at_the_renewal_is_applied_then_if_it_arrived(
    service: Runtime, world: World, sold: str, fault: str
):
    _, change = lose_the_answer(service, world, CHANGED["fewer at the renewal"].wish, fault)
    world.apply(sold, actions.renew(world, Options()), silently=True)
    long_ago(service)
    ends, leaves = ("applied", (10, 10)) if LOST[fault][2] else ("failed", (12, 18))
    settle(service, change.id)
    assert resynced(service, sold, change) == ends
    assert in_use(service) == (*leaves, "ok")
    assert asked_once(world, fault)


@pytest.mark.parametrize("asked", CHANGED.values(), ids=CHANGED)
def test_a_lost_request_does_not_fail_while_it_may_still_arrive(
    service: Runtime, world: World, sold: str, asked: Asked
):
    _, change = lose_the_answer(service, world, asked.wish, "cut before the work")
    for _ in range(2):
        assert settle(service, change.id).state == ChangeState.SUBMITTED
    assert change.code == "outcome_unknown"
    assert asked_once(world, "cut before the work")


@pytest.mark.parametrize("asked", CHANGED.values(), ids=CHANGED)
def test_a_change_that_never_arrived_can_be_made_again(
    service: Runtime, world: World, sold: str, asked: Asked
):
    _, lost = lose_the_answer(service, world, asked.wish, "cut before the work")
    long_ago(service)
    settle(service, lost.id)
    done = confirm(service, "acme", preview(service, "acme", asked.wish).token)
    assert (done.state, in_use(service)) == (asked.ends, (*asked.leaves, "ok"))
    assert (counted(world, "routes")[CHANGES], applied_writes(world)) == (2, 1)
