"""Claims that buy their seat: one purchase for all who wait, and nobody is seated before it is seen."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import text

from models import assignment
from runtime.wiring import Runtime
from services.purchases import auto_expand
from simulator.world import World
from tests.services.purchases.auto_expand.scenes import (
    CART,
    balance,
    claim,
    come_again,
    is_anybody_waited_for,
    notices,
    people,
    seat_of,
    status,
)
from tests.simulated import CHANGES, applied_writes, units


def test_a_claim_without_a_seat_is_granted_once_it_is_bought(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    assert people(service) == {"eve": "waiting"}
    auto_expand.expand(service, "acme")
    assert people(service) == {"eve": "active"}
    assert units(world, sold) == {**CART, "adn_seat": 1}
    assert notices(service)[-1:] == [("seat.claim_granted", "eve")]
    assert not is_anybody_waited_for(service)


def test_a_pending_claim_holds_a_seat_that_is_no_overage(service: Runtime, sold: str):
    told = notices(service)
    claim(service, "eve")
    assert balance(service) == {
        "included": 5,
        "addon": 0,
        "contract": 0,
        "active": 5,
        "held": 1,
        "waiting": 1,
    }
    assert (status(service), notices(service)) == ("ok", told)


def test_claims_made_at_once_are_one_purchase(service: Runtime, world: World, sold: str):
    names = [f"new-{number}" for number in range(4)]
    together = threading.Barrier(len(names))

    def come(name: str) -> None:
        together.wait()
        claim(service, name)
        auto_expand.wait_for_seats(service, "acme", [seat_of(service, name)])

    threads = [threading.Thread(target=come, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert people(service) == dict.fromkeys(names, "active")
    assert (applied_writes(world), units(world, sold)["adn_seat"]) == (1, 4)


def test_many_are_bought_for_in_the_cheapest_way(service: Runtime, world: World, sold: str):
    claim(service, *(f"new-{number}" for number in range(10)))
    auto_expand.expand(service, "acme")
    assert units(world, sold) == {**CART, "adn_pack_10": 1}


def test_seats_of_two_types_are_one_purchase(service: Runtime, world: World, sold: str):
    claim(service, "vic", "val", "vera", role="guest")
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    assert (applied_writes(world), units(world, sold)) == (1, {**CART, "adn_viewer": 3, "adn_seat": 1})


def test_an_invitation_that_waited_is_an_invitation_with_its_whole_time(service: Runtime, sold: str):
    claim(service, "eve", hold=True)
    auto_expand.expand(service, "acme")
    with service.sessions() as session:
        eve = assignment.live(session, "acme", "eve")
        assert eve is not None
        assert (eve.state, eve.awaits) == ("held", None)
        kept = session.scalar(text("SELECT expires_at - now() FROM assignments WHERE member_id = 'eve'"))
    assert 6 < kept.total_seconds() / 86400 <= 7


def test_an_invitation_taken_up_while_it_waits_is_a_member_in_the_end(service: Runtime, sold: str):
    claim(service, "eve", hold=True)
    claim(service, "eve")
    auto_expand.expand(service, "acme")
    assert people(service) == {"eve": "active"}


def test_a_buyer_that_died_is_missed_and_another_comes(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    with service.sessions.begin() as session:
        session.execute(text("UPDATE expansions SET lease_until = now() + interval '1 minute'"))
    assert not auto_expand.expand(service, "acme")
    with service.sessions.begin() as session:
        session.execute(text("UPDATE expansions SET lease_until = now()"))
    auto_expand.expand_due(service, until=time.monotonic() + 60)
    assert (people(service), applied_writes(world)) == ({"eve": "active"}, 1)


@pytest.mark.parametrize("fault", ["api_cut_probability", "api_hang_probability"])
def test_a_purchase_whose_answer_is_lost_is_made_once(service: Runtime, world: World, sold: str, fault: str):
    claim(service, "eve")
    world.board.turn({fault: 1.0, "api_fault_routes": [CHANGES]})
    auto_expand.expand(service, "acme")
    world.board.turn({fault: 0.0})
    come_again(service)
    assert (people(service), applied_writes(world)) == ({"eve": "active"}, 1)


def test_while_the_provider_is_away_the_claim_waits_and_is_bought_for_later(
    service: Runtime, world: World, sold: str
):
    claim(service, "eve")
    world.board.turn({"api_500_probability": 1.0})
    auto_expand.expand(service, "acme")
    assert people(service) == {"eve": "waiting"}
    world.board.turn({"api_500_probability": 0.0})
    with service.sessions.begin() as session:  # the pauses that the outage has left
        session.execute(text("UPDATE subscriptions SET next_at = now()"))
    come_again(service)
    assert people(service) == {"eve": "active"}
