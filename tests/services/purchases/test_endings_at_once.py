"""Several callers at the same moment: one request is sent, and all of them get the same answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from domain.billing_terms import When
from domain.errors import SeatSyncError
from runtime.wiring import Runtime
from services.purchases import ending
from services.purchases.confirm import confirm as confirm_change
from services.purchases.preview import SeatRequest
from services.purchases.preview import preview as preview_change
from simulator.world import World
from tests.services.purchases.endings import cancelled, kinds, previewed, undone, writes
from tests.services.purchases.test_seat_changes import CART
from tests.simulated import CHANGES, applied_writes, sell

pytestmark = pytest.mark.long(seconds=15)

ROUNDS = range(5)


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    return sell(world, service, CART)


def at_once(*calls: Callable[[], Any]) -> list[str]:
    """The states that the calls return, or the codes of their refusals, in the order of the calls."""

    def answer(call: Callable[[], Any]) -> str:
        try:
            return str(call().state)
        except SeatSyncError as error:
            return error.code

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(answer, calls))


def test_a_token_that_is_confirmed_by_several_is_sent_once(service: Runtime, world: World, sold: str):
    for _ in ROUNDS:
        world.requests.forget()
        token = previewed(service).token
        answers = at_once(*[partial(ending.confirm, service, "acme", token)] * 4)
        assert set(answers) <= {"scheduled", "submitted"}
        assert len(writes(world)) == 1
        undone(service, ending.confirm(service, "acme", token))
    assert kinds(service) == ["scheduled", "undone"] * len(ROUNDS)


def test_an_undo_that_several_ask_for_is_sent_once(service: Runtime, world: World, sold: str):
    for _ in ROUNDS:
        row = cancelled(service)
        world.requests.forget()
        answers = at_once(*[partial(ending.undo, service, "acme", row.id)] * 4)
        assert set(answers) <= {"undone", "scheduled"}
        assert len(writes(world)) == 1
    assert kinds(service) == ["scheduled", "undone"] * len(ROUNDS)


def test_of_a_cancellation_and_a_seat_change_at_once_the_second_is_refused(
    service: Runtime, world: World, sold: str
):
    """Either the change is made and the preview of the end is void, or the other way round."""
    change = preview_change(service, "acme", SeatRequest(seats={"full": 23})).token
    token = previewed(service, When.NOW).token
    answers = at_once(
        lambda: ending.confirm(service, "acme", token), lambda: confirm_change(service, "acme", change)
    )
    winner, loser = sorted(answers)
    assert winner == "applied"
    assert loser in {"change_in_flight", "subscription_changed"}
    assert len(writes(world)) + applied_writes(world, CHANGES) == 1
