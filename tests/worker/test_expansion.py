"""Claims that buy their seat, against the simulated provider: one purchase for all who wait, and nobody
seated before a look at the provider shows it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, text

from models import assignment, ledger, members, seating, waiting
from models.account import Account
from models.assignment import Assignment
from models.expansion import Expansion
from models.members import Change
from models.notice import KeptNotice
from models.rules import Override
from models.seating import Wish
from runtime.wiring import Runtime
from seats.catalog_file import parse
from seats.errors import NoSeatAvailable, PurchaseNeeded, WrongState
from simulator.control import actions
from simulator.control.actions import Options
from simulator.server import Simulator
from simulator.subscription import AddonUnits
from simulator.world import World
from tests.audit_replay import assert_audit_tells_the_present, assert_counters_are_the_rows
from tests.factories import a_cause
from tests.simulated import CATALOG, CHANGES, applied_writes, emptied, sell, served_by, units
from worker import expansion, seat_change
from worker.resync import resync_subscription

CART = {"adn_viewer": 2, "adn_support": 1}
OF_FIVE = [f"member-{number}" for number in range(5)]


@pytest.fixture
def world(simulator: Simulator) -> World:
    return emptied(simulator.world)


@pytest.fixture
def service(runtime: Runtime, simulator: Simulator) -> Runtime:
    return with_catalog(served_by(runtime, simulator.url), {})


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Five full seats, all of them taken, two viewers and a support contract."""
    subscription_id = sell(world, service, CART)
    for member_id in OF_FIVE:
        claim(service, member_id)
    return subscription_id


BUYING = {'policy = "strict"': 'policy = "auto_expand"'}


def with_catalog(service: Runtime, changes: Mapping[str, str]) -> Runtime:
    """Seats are bought on a claim, ten a day, and whatever else is to be different."""
    told = CATALOG
    for before, after in {**BUYING, **changes}.items():
        assert before in told
        told = told.replace(before, after)
    return replace(service, catalog=parse(told, "test catalogue"))


def claim(service: Runtime, *member_ids: str, **wish: Any) -> None:
    for member_id in member_ids:
        with service.transaction() as session:
            wanted = Wish(member_id=member_id, **{"role": "member", **wish})
            waiting.claim(session, "acme", wanted, service.catalog, a_cause())


def seat_of(service: Runtime, member_id: str) -> int:
    with service.sessions() as session:
        found = assignment.newest_id(session, "acme", member_id)
    assert found is not None
    return found


def come_again(service: Runtime) -> None:
    """The buyer's next visit, without the wait for it."""
    with service.sessions.begin() as session:
        session.execute(text("UPDATE expansions SET next_at = now(), lease_until = NULL"))
    expansion.expand_due(service, until=time.monotonic() + 60)


def people(service: Runtime) -> Mapping[str, str]:
    """Who came beside the first five, and how they stand; who waits for a purchase is `waiting`."""
    with service.sessions() as session:
        found = session.scalars(select(Assignment).where(Assignment.member_id.not_in(OF_FIVE)))
        return {one.member_id: "waiting" if one.awaits else one.state for one in found}


def balance(service: Runtime) -> Mapping[str, Any]:
    with service.sessions() as session:
        kept: Mapping[str, Any] = session.get_one(Account, "acme").seats["full"]
    return kept


def status(service: Runtime) -> str:
    with service.sessions() as session:
        return session.get_one(Account, "acme").status


def notices(service: Runtime) -> Sequence[tuple[str, str | None]]:
    """What the app was told, and of whom; changed counts are another story."""
    with service.sessions() as session:
        told = session.scalars(select(KeptNotice).order_by(KeptNotice.id)).all()
    return [(one.type, one.data.get("member_id")) for one in told if one.type != "seat.count_changed"]


def reason(service: Runtime, member_id: str) -> str:
    with service.sessions() as session:
        said = session.scalars(select(KeptNotice).where(KeptNotice.type == "seat.claim_refused"))
        return next(one.data["reason"] for one in said if one.data["member_id"] == member_id)


def sent(world: World) -> int:
    """Purchases that have reached the provider, whatever it made of them."""
    routes = world.requests.report(0)["routes"]
    assert isinstance(routes, dict)
    return int(routes.get(CHANGES, 0))


def is_anybody_waited_for(service: Runtime) -> bool:
    with service.sessions() as session:
        return session.scalar(select(Expansion.account_id)) is not None


def customer_buys(world: World, subscription_id: str, **addons: int) -> None:
    """In the provider's portal, and its webhook is late."""
    cart = [AddonUnits(name, count) for name, count in {**CART, **addons}.items()]
    world.apply(subscription_id, actions.set_cart(world, Options(addons=cart)), silently=True)


def settles(world: World, subscription_id: str, payment: str) -> None:
    """The charge that waited comes to an end."""
    world.apply(subscription_id, actions.settle_plan_change(world, Options(payment=payment)), silently=True)


def long_ago(service: Runtime, interval: str = "1 minute") -> None:
    """All of this was so long ago: a write has arrived by now, had it been going to."""
    ago = f"interval '{interval}'"
    with service.sessions.begin() as session:
        session.execute(text(f"UPDATE seat_changes SET sent_at = sent_at - {ago}, next_at = now()"))
        session.execute(text(f"UPDATE assignments SET claimed_at = claimed_at - {ago}"))


def settle(service: Runtime) -> None:
    seat_change.settle_due(service, until=time.monotonic() + 60)


# Bought.


def test_who_finds_no_seat_is_seated_once_it_is_bought(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    assert people(service) == {"eve": "waiting"}
    expansion.expand(service, "acme")
    assert people(service) == {"eve": "active"}
    assert units(world, sold) == {**CART, "adn_seat": 1}
    assert notices(service)[-1:] == [("seat.claim_granted", "eve")]
    assert not is_anybody_waited_for(service)


def test_who_waits_holds_a_seat_that_is_no_overage(service: Runtime, sold: str):
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
        expansion.wait(service, "acme", [seat_of(service, name)])

    threads = [threading.Thread(target=come, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert people(service) == dict.fromkeys(names, "active")
    assert (applied_writes(world), units(world, sold)["adn_seat"]) == (1, 4)


def test_many_are_bought_for_in_the_cheapest_way(service: Runtime, world: World, sold: str):
    claim(service, *(f"new-{number}" for number in range(10)))
    expansion.expand(service, "acme")
    assert units(world, sold) == {**CART, "adn_pack_10": 1}


def test_seats_of_two_types_are_one_purchase(service: Runtime, world: World, sold: str):
    claim(service, "vic", "val", "vera", role="guest")
    claim(service, "eve")
    expansion.expand(service, "acme")
    assert (applied_writes(world), units(world, sold)) == (1, {**CART, "adn_viewer": 3, "adn_seat": 1})


def test_an_invitation_that_waited_is_an_invitation_with_its_whole_time(service: Runtime, sold: str):
    claim(service, "eve", hold=True)
    expansion.expand(service, "acme")
    with service.sessions() as session:
        eve = assignment.live(session, "acme", "eve")
        assert eve is not None
        assert (eve.state, eve.awaits) == ("held", None)
        kept = session.scalar(text("SELECT expires_at - now() FROM assignments WHERE member_id = 'eve'"))
    assert 6 < kept.total_seconds() / 86400 <= 7


def test_an_invitation_taken_up_while_it_waits_is_a_member_in_the_end(service: Runtime, sold: str):
    claim(service, "eve", hold=True)
    claim(service, "eve")
    expansion.expand(service, "acme")
    assert people(service) == {"eve": "active"}


def test_a_buyer_that_died_is_missed_and_another_comes(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    with service.sessions.begin() as session:
        session.execute(text("UPDATE expansions SET lease_until = now() + interval '1 minute'"))
    assert not expansion.expand(service, "acme")
    with service.sessions.begin() as session:
        session.execute(text("UPDATE expansions SET lease_until = now()"))
    expansion.expand_due(service, until=time.monotonic() + 60)
    assert (people(service), applied_writes(world)) == ({"eve": "active"}, 1)


@pytest.mark.parametrize("fault", ["api_cut_probability", "api_hang_probability"])
def test_a_purchase_whose_answer_is_lost_is_made_once(service: Runtime, world: World, sold: str, fault: str):
    claim(service, "eve")
    world.board.turn({fault: 1.0, "api_fault_routes": [CHANGES]})
    expansion.expand(service, "acme")
    world.board.turn({fault: 0.0})
    come_again(service)
    assert (people(service), applied_writes(world)) == ({"eve": "active"}, 1)


def test_while_the_provider_is_away_the_claim_waits_and_is_bought_for_later(
    service: Runtime, world: World, sold: str
):
    claim(service, "eve")
    world.board.turn({"api_500_probability": 1.0})
    expansion.expand(service, "acme")
    assert people(service) == {"eve": "waiting"}
    world.board.turn({"api_500_probability": 0.0})
    with service.sessions.begin() as session:  # the pauses that the outage has left
        session.execute(text("UPDATE subscriptions SET next_at = now()"))
    come_again(service)
    assert people(service) == {"eve": "active"}


# Paid for later, or not.


def test_until_the_payment_has_settled_nobody_is_seated(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve")
    expansion.expand(service, "acme")
    claim(service, "fay")
    come_again(service)
    assert people(service) == {"eve": "waiting", "fay": "waiting"}
    settles(world, sold, "succeeds")
    world.board.turn({"plan_change_payment": "succeeds"})
    resync_subscription(service, sold, patience=5)
    assert people(service) == {"eve": "active", "fay": "waiting"}
    come_again(service)
    assert people(service) == {"eve": "active", "fay": "active"}
    assert (applied_writes(world), units(world, sold)["adn_seat"]) == (2, 2)


def test_a_payment_that_fails_releases_the_seat_and_says_so(service: Runtime, world: World, sold: str):
    told = notices(service)
    world.board.turn({"plan_change_payment": "fails"})
    claim(service, "eve")
    expansion.expand(service, "acme")
    long_ago(service)
    settle(service)
    expansion.expand_due(service, until=time.monotonic() + 60)
    assert (people(service), balance(service)["held"]) == ({"eve": "released"}, 0)
    assert notices(service) == [*told, ("seat.claim_refused", "eve")]
    assert "payment failed" in reason(service, "eve")
    assert "adn_seat" not in units(world, sold)


def test_after_a_failed_payment_claims_do_not_try_the_card_again_at_once(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "fails"})
    claim(service, "eve")
    expansion.expand(service, "acme")
    long_ago(service)
    settle(service)
    come_again(service)
    with pytest.raises(NoSeatAvailable, match="The last purchase failed: the next is tried from"):
        claim(service, "fay")


# Not bought.


def test_a_refusal_of_the_provider_is_told_to_who_waits(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    world.apply(sold, actions.set_status(world, Options(status="on_hold")), silently=True)
    expansion.expand(service, "acme")
    assert people(service) == {"eve": "released"}
    assert reason(service, "eve").startswith("No seat could be bought. ")


def test_no_more_than_the_days_limit_is_bought(service: Runtime, world: World, sold: str):
    claim(service, *(f"new-{number}" for number in range(10)))
    with pytest.raises(NoSeatAvailable, match="auto_expand_limit") as refused:
        claim(service, "eve")
    assert refused.value.details["auto_expand_limit"] == 10
    expansion.expand(service, "acme")
    with pytest.raises(NoSeatAvailable, match="10 of the 10 such seats"):
        claim(service, "eve")
    long_ago(service, "1 day")
    claim(service, "eve")
    expansion.expand(service, "acme")
    assert people(service)["eve"] == "active"


def test_a_pack_beyond_the_days_limit_is_not_bought(service: Runtime, world: World, sold: str):
    packs_only = with_catalog(
        service, {"addons.adn_seat = { full = 1 }\n": "", "\n[roles]": "auto_expand_limit = 5\n[roles]"}
    )
    claim(packs_only, "eve")
    expansion.expand(packs_only, "acme")
    assert (people(service), applied_writes(world)) == ({"eve": "released"}, 0)
    assert "10 seats would have to be bought at once" in reason(service, "eve")


def test_no_more_than_the_products_maximum_is_bought(service: Runtime, sold: str):
    bounded = with_catalog(service, {"maximum = { full = 500 }": "maximum = { full = 6 }"})
    claim(bounded, "eve")
    with pytest.raises(NoSeatAvailable, match="No more than 6 full seats can be bought"):
        claim(bounded, "fay")


def test_nothing_is_bought_for_people_who_were_there_before(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    expansion.expand(service, "acme")
    world.apply(sold, actions.set_cart(world, Options(addons=[AddonUnits("adn_viewer", 2)])), silently=True)
    resync_subscription(service, sold, patience=5)
    with pytest.raises(NoSeatAvailable, match="6 people sit on 5 full seats already"):
        claim(service, "fay")
    assert status(service) == "over_limit"


def test_where_it_is_not_clear_what_to_buy_nothing_is(service: Runtime, world: World, sold: str):
    other = world.open({"product_id": "pdt_team", "metadata": {"account_id": "acme"}}, silently=True)
    resync_subscription(service, other.subscription_id, patience=5)
    claim(service, *(f"new-{number}" for number in range(5)))
    with pytest.raises(PurchaseNeeded, match="2 active subscriptions and not one"):
        claim(service, "eve")


# While it waits.


def test_a_seat_that_is_freed_goes_to_who_waits_and_nothing_is_bought(
    service: Runtime, world: World, sold: str
):
    claim(service, "eve", "fay")
    with service.transaction() as session:
        seating.release(session, "acme", OF_FIVE[0], a_cause())
        seating.release(session, "acme", "fay", a_cause())
    expansion.expand(service, "acme")
    assert people(service) == {"eve": "active", "fay": "released"}
    assert applied_writes(world) == 0


def test_who_waits_comes_before_who_comes_later(service: Runtime, world: World, sold: str):
    claim(service, "eve", "fay")
    with service.transaction() as session:
        seating.release(session, "acme", OF_FIVE[0], a_cause())
    claim(service, "gil")
    with service.transaction() as session:
        ledger.reevaluate(session, "acme", service.catalog, a_cause())
    assert people(service) == {"eve": "active", "fay": "waiting", "gil": "waiting"}


def test_a_policy_that_buys_no_more_ends_the_wait(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    with service.transaction() as session:
        ledger.set_policy(session, "acme", Override(policy="strict"), service.catalog, a_cause())
    assert people(service) == {"eve": "released"}
    assert reason(service, "eve") == "The account's policy does not buy seats any more."
    expansion.expand(service, "acme")
    assert applied_writes(world) == 0


def test_a_wait_ends_after_some_days(service: Runtime, sold: str):
    claim(service, "eve")
    with service.sessions.begin() as session:
        session.execute(text("UPDATE assignments SET expires_at = now() WHERE awaits IS NOT NULL"))
    with service.transaction() as session:
        ledger.reevaluate(session, "acme", service.catalog, a_cause())
    assert people(service) == {"eve": "released"}
    assert reason(service, "eve") == "No seat could be bought in time."


@pytest.mark.parametrize("wanted", [Change(role="guest"), Change(state=assignment.AssignmentState.ACTIVE)])
def test_who_waits_is_neither_moved_nor_confirmed_by_hand(service: Runtime, sold: str, wanted: Change):
    claim(service, "eve")
    with service.transaction() as session, pytest.raises(WrongState, match="waits for a seat"):
        members.change(session, "acme", "eve", wanted, catalog=service.catalog, cause=a_cause())


def test_the_audit_tells_of_every_step(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve", "fay", "gil")
    expansion.expand(service, "acme")
    with service.transaction() as session:
        seating.release(session, "acme", "gil", a_cause())
    settles(world, sold, "succeeds")
    resync_subscription(service, sold, patience=5)
    with service.sessions() as session:
        assert_audit_tells_the_present(session)
        assert_counters_are_the_rows(session)
    assert people(service) == {"eve": "active", "fay": "active", "gil": "released"}


# What happens beside a purchase.


def test_seats_that_came_from_elsewhere_are_never_given_back_by_a_purchase(
    service: Runtime, world: World, sold: str
):
    claim(service, "eve")
    customer_buys(world, sold, adn_seat=5)
    expansion.expand(service, "acme")
    assert (people(service), applied_writes(world)) == ({"eve": "active"}, 0)
    assert units(world, sold)["adn_seat"] == 5


@pytest.mark.parametrize("leaver", ["eve", OF_FIVE[0]])
def test_nobody_is_charged_for_who_needs_no_seat_any_more(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch, leaver: str
):
    """The last moment to find out is the transaction that sends the purchase."""
    claim(service, "eve")
    ask = expansion.preview

    def leaves_after_the_preview(*asked: Any) -> Any:
        previewed = ask(*asked)
        with service.transaction() as session:
            seating.release(session, "acme", leaver, a_cause())
        return previewed

    monkeypatch.setattr(expansion, "preview", leaves_after_the_preview)
    expansion.expand(service, "acme")
    assert applied_writes(world) == 0


def test_a_customer_who_reduces_beside_a_claim_is_sold_nothing_back(
    service: Runtime, world: World, sold: str
):
    customer_buys(world, sold, adn_seat=1)
    resync_subscription(service, sold, patience=5)
    claim(service, "fay")
    claim(service, "eve")
    customer_buys(world, sold)
    expansion.expand(service, "acme")
    assert (people(service), applied_writes(world)) == ({"fay": "active", "eve": "released"}, 0)
    assert "6 people sit on 5 full seats already" in reason(service, "eve")


def test_who_came_after_the_purchase_is_not_refused_with_it(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "fails"})
    claim(service, "eve")
    expansion.expand(service, "acme")
    claim(service, "fay")
    long_ago(service)
    settle(service)
    come_again(service)
    assert people(service) == {"eve": "released", "fay": "waiting"}


def test_who_waits_on_after_a_purchase_is_bought_for_at_once(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve")
    expansion.expand(service, "acme")
    claim(service, "fay")
    expansion.expand(service, "acme")
    world.board.turn({"plan_change_payment": "succeeds"})
    settles(world, sold, "succeeds")
    resync_subscription(service, sold, patience=5)
    expansion.expand_due(service, until=time.monotonic() + 60)
    assert people(service) == {"eve": "active", "fay": "active"}


def test_a_purchase_that_the_provider_never_answered_is_tried_again_for_the_same_people(
    service: Runtime, world: World, sold: str
):
    """As where the process dies between writing down that it sends and sending."""
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": [CHANGES]})
    claim(service, "eve")
    expansion.expand(service, "acme")
    world.board.turn({"api_cut_before_probability": 0.0})
    long_ago(service)
    settle(service)
    come_again(service)
    assert (people(service), applied_writes(world)) == ({"eve": "active"}, 1)


def test_a_write_that_is_refused_for_now_is_tried_later_and_later(service: Runtime, world: World, sold: str):
    world.board.turn({"api_429_probability": 1.0, "api_fault_routes": [CHANGES]})
    claim(service, "eve")
    for _ in range(3):
        come_again(service)
    with service.sessions() as session:
        assert session.scalar(select(Expansion.attempts)) == 3
    assert people(service) == {"eve": "waiting"}


@pytest.mark.parametrize("status", ["cancelled", "paused"])
def test_an_account_that_may_claim_nothing_lets_nobody_wait(
    service: Runtime, world: World, sold: str, status: str
):
    claim(service, "eve")
    world.apply(sold, actions.set_status(world, Options(status=status)), silently=True)
    resync_subscription(service, sold, patience=5)
    with service.transaction() as session:
        seating.release(session, "acme", OF_FIVE[0], a_cause())
        ledger.reevaluate(session, "acme", service.catalog, a_cause())
    assert people(service) == {"eve": "released"}


def test_a_policy_that_needs_no_seat_ends_the_wait_with_one(service: Runtime, world: World, sold: str):
    claim(service, "eve")
    with service.transaction() as session:
        ledger.set_policy(session, "acme", Override(policy="soft"), service.catalog, a_cause())
    assert people(service) == {"eve": "active"}


def test_whose_role_needs_no_seat_any_more_waits_no_longer(service: Runtime, sold: str):
    claim(service, "eve")
    freed = with_catalog(service, {'member = "full"': 'member = "free"'})
    with freed.transaction() as session:
        ledger.reevaluate(session, "acme", freed.catalog, a_cause())
    assert people(freed) == {"eve": "active"}


def test_an_invitation_taken_up_by_address_while_it_waits_is_the_members_own(service: Runtime, sold: str):
    claim(service, "invited", hold=True, email="eve@example.com")
    claim(service, "eve", email="eve@example.com")
    expansion.expand(service, "acme")
    assert people(service) == {"eve": "active"}


def test_a_deadline_is_never_set_for_who_waits(service: Runtime, sold: str):
    claim(service, "eve")
    with service.transaction() as session:
        ledger.set_policy(session, "acme", Override(policy="grace"), service.catalog, a_cause())
    assert (people(service), status(service)) == ({"eve": "active"}, "grace")
    with service.sessions() as session:
        assert_audit_tells_the_present(session)
        assert_counters_are_the_rows(session)


def test_a_wait_over_midnight_counts_once(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, *(f"new-{number}" for number in range(10)))
    expansion.expand(service, "acme")
    long_ago(service, "1 day")
    claim(service, "eve")
    assert people(service)["eve"] == "waiting"


def test_a_card_is_not_tried_for_days_where_the_answer_never_comes(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "fails"})
    world.board.turn({"api_cut_probability": 1.0, "api_fault_routes": [CHANGES]})
    claim(service, "eve")
    for _ in range(3):
        come_again(service)
        long_ago(service)
        settle(service)
    come_again(service)
    assert people(service) == {"eve": "released"}
    assert sent(world) == 2


def test_who_keeps_coming_keeps_nobody_from_being_bought_for(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    claim(service, "eve")
    ask, names = expansion.preview, iter(["fay", "gil"])

    def somebody_comes_after_the_preview(*asked: Any) -> Any:
        previewed = ask(*asked)
        claim(service, next(names, "eve"))
        return previewed

    monkeypatch.setattr(expansion, "preview", somebody_comes_after_the_preview)
    expansion.expand(service, "acme")
    assert people(service)["eve"] == "active"


def test_what_stands_in_the_way_of_one_seat_type_is_none_of_the_others_business(
    service: Runtime, world: World, sold: str
):
    packs_only = with_catalog(
        service,
        {"addons.adn_seat = { full = 1 }\n": "", "\n[roles]": "auto_expand_limit = 5\n[roles]"},
    )
    claim(packs_only, "vic", "val", "vera", role="guest")
    claim(packs_only, "eve")
    expansion.expand(packs_only, "acme")
    assert people(packs_only) == {"vic": "active", "val": "active", "vera": "active", "eve": "released"}


def test_nobody_is_given_up_on_while_their_seat_is_being_paid(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    claim(service, "eve")
    expansion.expand(service, "acme")
    with service.sessions.begin() as session:
        session.execute(text("UPDATE assignments SET expires_at = now() WHERE awaits IS NOT NULL"))
    come_again(service)
    assert people(service) == {"eve": "waiting"}
    settles(world, sold, "succeeds")
    resync_subscription(service, sold, patience=5)
    assert people(service) == {"eve": "active"}
