"""Cancellations and undos whose response was lost: sent once, and in the end as the provider has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from domain.billing_terms import When
from models.cancellation import Cancellation
from runtime.wiring import Runtime
from services.purchases import ending, refresh
from services.purchases.settle_ending import settle
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.services.purchases.endings import (
    UPDATES,
    account,
    cancelled,
    kinds,
    previewed,
    purchased,
    sent_long_ago,
    synced,
    undone,
    writes,
)
from tests.services.purchases.test_lost_answers import LOST, counted
from tests.services.purchases.test_seat_changes import CART, seated
from tests.simulated import sell, units
from tests.waiting import wait_until

pytestmark = pytest.mark.long(seconds=30)


@dataclass(frozen=True)
class Asked:
    """A request, the state of its cancellation if it arrived and if it did not, and the full seats then."""

    send: Callable[[Runtime, str], Cancellation]
    arrived: tuple[str, int]
    lost: tuple[str, int]
    notices: tuple[list[str], list[str]]


def confirm(service: Runtime, prepared: str) -> Cancellation:
    return ending.confirm(service, "acme", prepared)


def undo(service: Runtime, prepared: str) -> Cancellation:
    return ending.undo(service, "acme", prepared)


ASKED: Mapping[str, Asked] = {
    "at the renewal": Asked(confirm, ("scheduled", 18), ("failed", 18), (["scheduled"], ["failed"])),
    "at once": Asked(confirm, ("applied", 0), ("failed", 18), (["applied"], ["failed"])),
    "undone": Asked(
        undo,
        ("undone", 18),
        ("scheduled", 18),
        (["scheduled", "undone"], ["scheduled", "undo_failed"]),
    ),
}
each_request = pytest.mark.parametrize("name", ASKED)
each_fault = pytest.mark.parametrize("fault", LOST)


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Eighteen full seats, and three people on them."""
    sold = sell(world, service, CART)
    seated(service, "ada", "bob", "eve")
    return sold


def lose_the_answer(service: Runtime, world: World, name: str, fault: str) -> tuple[str, Cancellation]:
    """What the request is sent with (a token or an id), and its cancellation after the response was lost."""
    if name == "undone":
        prepared = cancelled(service).id
    else:
        prepared = previewed(service, When.NOW if name == "at once" else When.AT_RENEWAL).token
    world.requests.forget()
    knob, noted, _ = LOST[fault]
    world.board.turn({knob: 1.0, "api_hang_seconds": 1.2, "api_fault_routes": [UPDATES]})
    row = ASKED[name].send(service, prepared)
    wait_until(lambda: counted(world, "faults").get(noted), "the provider notes what it did", seconds=5)
    world.board.turn({knob: 0.0})
    return prepared, row


@each_fault
@each_request
def test_it_ends_as_the_provider_has_it_and_was_sent_once(
    service: Runtime, world: World, sold: str, name: str, fault: str
):
    asked, is_done = ASKED[name], LOST[fault][2]
    prepared, row = lose_the_answer(service, world, name, fault)
    sent_long_ago(service)
    ended = settle(service, row.id)
    assert (ended.state, purchased(service)) == (asked.arrived if is_done else asked.lost)
    assert kinds(service) == asked.notices[0 if is_done else 1]
    if is_done:
        assert asked.send(service, prepared).state == ended.state
    assert [one["is_applied"] for one in writes(world)] == [is_done]


@each_request
def test_a_lost_request_does_not_fail_while_it_may_still_arrive(
    service: Runtime, world: World, sold: str, name: str
):
    _, row = lose_the_answer(service, world, name, "cut before the work")
    for _ in range(2):
        row = settle(service, row.id)
        assert row.state == ("scheduled" if name == "undone" else "submitted")
        assert row.code == "outcome_unknown"
    assert len(writes(world)) == 1


@each_request
def test_what_could_not_be_read_for_a_day_is_not_said_to_be_lost(
    service: Runtime, world: World, sold: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)
    _, row = lose_the_answer(service, world, name, "cut before the work")
    world.board.turn({"api_500_probability": 1.0, "api_fault_routes": ["*"]})
    sent_long_ago(service, minutes=25 * 60)
    ended = settle(service, row.id)
    assert ended.code == ("undo_not_read" if name == "undone" else "not_read")
    assert (ended.retry_helps, kinds(service)) == (False, ASKED[name].notices[1])


@each_request
def test_what_never_arrived_can_be_asked_for_again(service: Runtime, world: World, sold: str, name: str):
    _, row = lose_the_answer(service, world, name, "cut before the work")
    sent_long_ago(service)
    settle(service, row.id)
    if name == "undone":
        done = undone(service, row)
    else:
        done = cancelled(service, When.NOW if name == "at once" else When.AT_RENEWAL)
    assert (done.state, purchased(service)) == ASKED[name].arrived
    assert len(writes(world)) == 2


@each_request
def test_one_that_arrives_after_it_failed_is_recognised(service: Runtime, world: World, sold: str, name: str):
    _, row = lose_the_answer(service, world, name, "cut before the work")
    sent_long_ago(service)
    settle(service, row.id)
    rules = {
        "at the renewal": actions.ACTIONS["cancel-at-period-end"],
        "at once": actions.ACTIONS["cancel"],
        "undone": actions.ACTIONS["undo-cancel"],
    }
    world.apply(sold, rules[name](world, Options()), silently=True)
    synced(service, sold)
    ended = settle(service, row.id)
    assert (ended.state, purchased(service)) == ASKED[name].arrived
    assert ended.code == (None if name == "undone" else "applied_late")
    assert kinds(service) == [*ASKED[name].notices[1], ASKED[name].notices[0][-1]]


@each_fault
def test_people_keep_their_seats_until_a_sync_shows_the_end(
    service: Runtime, world: World, sold: str, fault: str
):
    lose_the_answer(service, world, "at the renewal", fault)
    world.apply(sold, actions.renew(world, Options()), silently=True)
    assert (purchased(service), account(service).status) == (18, "ok")
    synced(service, sold)
    is_done = LOST[fault][2]
    assert (purchased(service), account(service).status) == ((0, "ended") if is_done else (18, "ok"))


# The whole cart.


@each_fault
@each_request
def test_no_cancellation_and_no_undo_touches_the_cart(
    service: Runtime, world: World, sold: str, name: str, fault: str
):
    before = world.state.get(sold)
    lose_the_answer(service, world, name, fault)
    after = world.state.get(sold)
    assert units(world, sold) == CART
    assert (after.product_id, after.quantity) == (before.product_id, before.quantity)


def test_what_was_undone_is_renewed_with_the_whole_cart(service: Runtime, world: World, sold: str):
    undone(service, cancelled(service))
    world.apply(sold, actions.renew(world, Options()), silently=True)
    synced(service, sold)
    assert units(world, sold) == CART
    assert (purchased(service), purchased(service, "viewer")) == (18, 4)
