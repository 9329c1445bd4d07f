"""Claims whose seat is paid for later, or never."""

from __future__ import annotations

import time

import pytest

from domain.errors import NoSeatAvailable
from runtime.wiring import Runtime
from services.purchases import auto_expand
from services.sync.on_demand import sync_subscription
from simulator.world import World
from tests.services.purchases.auto_expand.setup_helpers import (
    balance,
    claim,
    come_again,
    long_ago,
    notices,
    people,
    reason,
    settle,
    settles,
)
from tests.simulated import applied_writes, units


def test_until_the_payment_has_settled_claims_stay_pending(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    claim(service, "fay")
    come_again(service)
    assert people(service) == {"eve": "waiting", "fay": "waiting"}
    settles(world, sold, "succeeds")
    world.board.turn({"plan_change_payment": "succeeds"})
    sync_subscription(service, sold, patience=5)
    assert people(service) == {"eve": "active", "fay": "waiting"}
    come_again(service)
    assert people(service) == {"eve": "active", "fay": "active"}
    assert (applied_writes(world), units(world, sold)["adn_seat"]) == (2, 2)


def test_a_payment_that_fails_releases_the_seat_and_says_so(service: Runtime, world: World, sold: str):
    told = notices(service)
    world.board.turn({"plan_change_payment": "fails"})
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    long_ago(service)
    settle(service)
    auto_expand.expand_due(service, until=time.monotonic() + 60)
    assert (people(service), balance(service)["held"]) == ({"eve": "released"}, 0)
    assert notices(service) == [*told, ("seat.claim_refused", "eve")]
    assert "payment failed" in reason(service, "eve")
    assert "adn_seat" not in units(world, sold)


def test_after_a_failed_payment_claims_do_not_try_the_card_again_at_once(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "fails"})
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    long_ago(service)
    settle(service)
    come_again(service)
    with pytest.raises(NoSeatAvailable, match="The next attempt is made after"):
        claim(service, "fay")
