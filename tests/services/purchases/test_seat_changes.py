"""Seat changes against the simulated provider: shown before, sent once, and true only when it is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from domain.billing_terms import When
from domain.errors import (
    BelowMinimum,
    ChangeInFlight,
    NoSubscription,
    NotCancellable,
    NothingToChange,
    PreviewExpired,
    ReleaseRefused,
    SeatsInUse,
    SubscriptionChanged,
)
from domain.provider_errors import ChangeRefused, TransientError
from models import seat_change
from models.account import Account
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.ledger import accounts, claims, links
from services.ledger.claims import ClaimRequest as SeatWish
from services.purchases import confirm as confirming
from services.purchases import refresh
from services.purchases.cancel import cancel
from services.purchases.confirm import confirm
from services.purchases.preview import SeatRequest, preview
from services.purchases.settle import settle
from services.sync.on_demand import sync_subscription
from simulator.billing.lifecycle import changed
from simulator.billing.subscription import AddonUnits
from simulator.control import actions
from simulator.control.actions import Options
from simulator.world import World
from tests.factories import a_cause
from tests.services.sync.passes import drift
from tests.simulated import CHANGES, applied_writes, sell, sell_second_subscription, units

pytestmark = pytest.mark.long(seconds=14)

CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
SEATS = ("adn_seat", "adn_pack_10")


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Eighteen full seats and four viewers, and everything else a cart can hold."""
    return sell(world, service, CART)


def purchased(runtime: Runtime, seat_type: str = "full") -> int:
    with runtime.sessions() as session:
        kept = session.get_one(Account, "acme").seats[seat_type]
    return kept["included"] + kept["addon"]


def seated(runtime: Runtime, *names: str, role: str = "member") -> None:
    for name in names:
        with runtime.transaction() as session:
            wish = SeatWish(member_id=name, role=role)
            claims.claim(session, "acme", wish, runtime.catalog, a_cause())


def settles(world: World, name: str, payment: str) -> None:
    """The charge that waited comes to an end."""
    world.apply(name, actions.settle_plan_change(world, Options(payment=payment)), silently=True)


def long_ago(runtime: Runtime) -> None:
    """The write was sent long enough ago to have arrived, had it been going to."""
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE seat_changes SET sent_at = sent_at - interval '1 minute'"))


def the(runtime: Runtime, change: SeatChange) -> SeatChange:
    with runtime.sessions() as session:
        return session.get_one(SeatChange, change.id)


# What is shown before.


def test_a_preview_tells_the_price_in_the_providers_words_and_changes_nothing(
    service: Runtime, world: World, sold: str
):
    told = preview(service, "acme", SeatRequest(seats={"full": 23})).change
    assert told.seats == {"full": {"before": 18, "after": 23}}
    assert told.shown["charged_now"]["currency"] == "EUR"
    assert told.shown["charged_now"]["amount"] > 0
    assert told.shown["sentence"].startswith("Adding 5 full seats costs ")
    assert "a month before tax" in told.shown["sentence"]
    assert (applied_writes(world), units(world, sold)) == (0, CART)


def test_a_preview_of_the_present_seats_is_refused(service: Runtime, sold: str):
    with pytest.raises(NothingToChange):
        preview(service, "acme", SeatRequest(seats={"full": 18}))


def test_an_account_without_a_subscription_is_told_to_buy_one(service: Runtime, sold: str):
    with service.transaction() as session:
        accounts.open_account(session, "newcomer", service.catalog, a_cause())
    with pytest.raises(NoSubscription, match="checkout"):
        preview(service, "newcomer", SeatRequest(seats={"full": 3}))


def test_of_two_subscriptions_the_one_to_change_has_to_be_named(service: Runtime, world: World, sold: str):
    other = sell_second_subscription(world, service, sold)
    with pytest.raises(NoSubscription, match="name the one"):
        preview(service, "acme", SeatRequest(seats={"full": 30}))
    told = preview(service, "acme", SeatRequest(seats={"full": 30}, subscription_id=other))
    assert told.change.seats == {"full": {"before": 23, "after": 30}}


# Confirmed.


def test_a_confirmed_preview_is_applied_and_the_rest_of_the_cart_stays(
    service: Runtime, world: World, sold: str
):
    done = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    assert done.state == ChangeState.APPLIED
    assert units(world, sold) == {**CART, "adn_seat": 8}
    assert (purchased(service), purchased(service, "viewer"), applied_writes(world)) == (23, 4, 1)


def test_its_history_tells_every_state(service: Runtime, sold: str):
    done = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    assert [step["state"] for step in done.history] == ["previewed", "submitted", "applied"]


def test_our_own_change_is_no_drift(service: Runtime, sold: str):
    confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    assert drift(service) == []


def test_a_token_pressed_twice_is_sent_once(service: Runtime, world: World, sold: str):
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token
    first, second = confirm(service, "acme", token), confirm(service, "acme", token)
    assert (first.id, first.state, applied_writes(world)) == (second.id, second.state, 1)


def test_a_preview_from_before_somebody_elses_change_is_refused(service: Runtime, world: World, sold: str):
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token
    more = (*world.state.get(sold).addons[:-1], AddonUnits("adn_support", 2))
    world.apply(sold, lambda one, _: changed(replace(one, addons=more)), silently=True)
    with pytest.raises(SubscriptionChanged):
        confirm(service, "acme", token)
    assert applied_writes(world) == 0


def test_an_old_preview_is_refused(service: Runtime, world: World, sold: str):
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token
    with service.sessions.begin() as session:
        session.execute(text("UPDATE seat_changes SET expires_at = now()"))
    for _ in range(2):
        with pytest.raises(PreviewExpired):
            confirm(service, "acme", token)
    assert applied_writes(world) == 0


def test_while_one_change_is_under_way_another_is_refused_with_its_id(
    service: Runtime, world: World, sold: str
):
    tokens = [preview(service, "acme", SeatRequest(seats={"full": 18 + n})).token for n in (5, 6)]
    world.board.turn({"plan_change_payment": "waits"})
    first = confirm(service, "acme", tokens[0])
    assert first.state == ChangeState.SUBMITTED
    with pytest.raises(ChangeInFlight) as refusal:
        confirm(service, "acme", tokens[1])
    assert refusal.value.details["change_id"] == first.id
    assert applied_writes(world) == 1


def test_a_refusal_of_the_provider_fails_the_change_with_its_reason(
    service: Runtime, world: World, sold: str
):
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token
    with service.sessions() as session:
        change = seat_change.by_token(session, "acme", token)
    world.board.turn({"plan_change_payment": "waits"})
    confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 20})).token)
    with service.sessions.begin() as session:
        session.execute(text("UPDATE seat_changes SET state = 'failed' WHERE state = 'submitted'"))
    with pytest.raises(ChangeRefused) as refusal:
        confirm(service, "acme", token)
    assert refusal.value.code == "change_in_progress"
    failed = the(service, change)
    assert (failed.state, failed.code, failed.retry_helps) == (ChangeState.FAILED, "change_in_progress", True)


# Payments.


def test_seats_are_there_only_when_the_payment_has_succeeded(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    change = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    long_ago(service)
    assert settle(service, change.id).state == ChangeState.SUBMITTED
    assert purchased(service) == 18
    settles(world, sold, "succeeds")
    assert settle(service, change.id).state == ChangeState.APPLIED
    assert purchased(service) == 23


def test_a_failed_payment_fails_the_change_and_changes_nothing(service: Runtime, world: World, sold: str):
    world.board.turn({"plan_change_payment": "waits"})
    change = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    settles(world, sold, "fails")
    assert settle(service, change.id).state == ChangeState.SUBMITTED
    long_ago(service)
    failed = settle(service, change.id)
    assert (failed.state, failed.code, failed.retry_helps) == (ChangeState.FAILED, "not_applied", True)
    assert (purchased(service), units(world, sold)) == (18, CART)


def test_a_payment_that_succeeds_while_the_provider_cannot_be_read_is_not_taken_for_failed(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "waits"})
    change = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    long_ago(service)
    settles(world, sold, "succeeds")
    world.board.turn({"api_500_probability": 1.0, "api_fault_routes": ["GET *"]})
    assert settle(service, change.id).state == ChangeState.SUBMITTED
    world.board.turn({"api_500_probability": 0.0})
    assert resynced(service, sold, change) == ChangeState.APPLIED


def test_a_payment_that_still_waits_while_the_customer_cancels_is_not_taken_for_failed(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"plan_change_payment": "waits"})
    change = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    long_ago(service)
    world.apply(sold, lambda one, _: changed(replace(one, cancel_at_next_billing_date=True)), silently=True)
    assert settle(service, change.id).state == ChangeState.SUBMITTED


def test_a_change_that_was_taken_for_failed_is_applied_when_it_is_seen_after_all(
    service: Runtime, world: World, sold: str
):
    world.board.turn({"api_cut_before_probability": 1.0, "api_fault_routes": [CHANGES]})
    change = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    long_ago(service)
    assert settle(service, change.id).state == ChangeState.FAILED
    more = tuple(
        replace(one, quantity=8) if one.addon_id == "adn_seat" else one
        for one in world.state.get(sold).addons
    )
    world.apply(sold, lambda one, _: changed(replace(one, addons=more)), silently=True)
    assert resynced(service, sold, change) == ChangeState.APPLIED


def resynced(service: Runtime, name: str, change: SeatChange) -> str:
    """The state of the change after a sync."""
    with service.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET next_at = now(), lease_until = NULL"))
    sync_subscription(service, name, patience=5)
    return the(service, change).state


# Lost answers.


@pytest.mark.parametrize(
    ("knob", "ends"),
    [
        ("api_cut_probability", "applied"),
        ("api_hang_probability", "applied"),
        ("api_cut_before_probability", "failed"),
    ],
)
def test_a_change_whose_answer_is_lost_ends_in_the_right_state_with_one_write_at_most(
    service: Runtime, world: World, sold: str, knob: str, ends: str
):
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token
    world.board.turn({knob: 1.0, "api_hang_seconds": 1.5, "api_fault_routes": [CHANGES]})
    change = confirm(service, "acme", token)
    long_ago(service)
    assert settle(service, change.id).state == ends
    assert applied_writes(world) == (1 if ends == "applied" else 0)
    assert purchased(service) == (23 if ends == "applied" else 18)


def test_if_a_process_dies_after_sending_the_subscription_shows_the_outcome(
    service: Runtime, world: World, sold: str
):
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token

    class Dies(type(service.provider)):  # type: ignore[misc]
        def change(self, plan, *, change_id):
            super().change(plan, change_id=change_id)
            raise KeyboardInterrupt

    dying = replace(service, provider=Dies(service.provider._verifier, service.provider._client))
    with pytest.raises(KeyboardInterrupt):
        confirm(dying, "acme", token)
    again = confirm(service, "acme", token)
    assert settle(service, again.id).state == ChangeState.APPLIED
    assert (purchased(service), applied_writes(world)) == (23, 1)


def test_a_process_that_was_stopped_before_it_could_send_sends_nothing_any_more(
    service: Runtime, world: World, sold: str, monkeypatch: pytest.MonkeyPatch
):
    previewed = preview(service, "acme", SeatRequest(seats={"full": 23}))
    monkeypatch.setattr(confirming, "_SEND_WITHIN_SECONDS", -1.0)
    with pytest.raises(TransientError, match="stopped before it could send"):
        confirm(service, "acme", previewed.token)
    assert (applied_writes(world), the(service, previewed.change).state) == (0, ChangeState.FAILED)


def test_a_subscription_that_has_left_the_account_is_not_changed_by_its_token(
    service: Runtime, world: World, sold: str
):
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token
    with service.transaction() as session:
        links.link(session, "other", sold, service.catalog, a_cause())
    with pytest.raises(SubscriptionChanged):
        confirm(service, "acme", token)
    assert applied_writes(world) == 0


def test_seats_lost_elsewhere_since_the_preview_are_not_given_back_twice(
    service: Runtime, world: World, sold: str
):
    other = sell_second_subscription(world, service, sold)
    token = preview(service, "acme", SeatRequest(seats={"full": 16}, subscription_id=sold)).token
    world.apply(other, lambda one, _: changed(replace(one, status="cancelled")), silently=True)
    sync_subscription(service, other, patience=5)
    with pytest.raises(SubscriptionChanged):
        confirm(service, "acme", token)


def test_nothing_is_sent_while_the_provider_is_unreachable(
    service: Runtime, world: World, sold: str, monkeypatch
):
    token = preview(service, "acme", SeatRequest(seats={"full": 23})).token
    monkeypatch.setattr(refresh, "SYNC_TIMEOUT", 0.3)
    world.board.turn({"api_500_probability": 1.0})
    with pytest.raises(TransientError, match="nothing was sent"):
        confirm(service, "acme", token)
    world.board.turn({"api_500_probability": 0.0})
    assert applied_writes(world) == 0
    with service.sessions.begin() as session:
        session.execute(text("UPDATE subscriptions SET next_at = now()"))
    assert confirm(service, "acme", token).state == ChangeState.APPLIED


# Fewer seats.


def test_fewer_seats_than_people_is_refused_with_those_who_would_have_to_leave(service: Runtime, sold: str):
    seated(service, *(f"member-{number}" for number in range(12)))
    with pytest.raises(SeatsInUse) as refusal:
        preview(service, "acme", SeatRequest(seats={"full": 10}))
    assert refusal.value.details["total"] == 2
    assert [one["member_id"] for one in refusal.value.details["leavers"]] == ["member-11", "member-10"]


def test_a_planned_reduction_releases_the_chosen_with_the_seats_and_warns_nobody(
    service: Runtime, world: World, sold: str
):
    seated(service, *(f"member-{number}" for number in range(12)))
    wish = SeatRequest(seats={"full": 10}, release=["member-3", "member-4"])
    done = confirm(service, "acme", preview(service, "acme", wish).token)
    assert done.state == ChangeState.APPLIED
    with service.sessions() as session:
        account = session.get_one(Account, "acme")
        told = session.scalars(text("SELECT type FROM notices")).all()
    assert (account.status, account.seats["full"]["active"], purchased(service)) == ("ok", 10, 10)
    assert not {"seat.overage_started", "seat.blocked", "seat.grace_started"} & set(told)


def test_suggested_releases_those_who_would_leave_first(service: Runtime, sold: str):
    seated(service, *(f"member-{number}" for number in range(12)))
    told = preview(service, "acme", SeatRequest(seats={"full": 10}, release="suggested")).change
    assert told.release == ["member-11", "member-10"]


def test_a_reduction_that_the_provider_refuses_releases_nobody(service: Runtime, world: World, sold: str):
    seated(service, *(f"member-{number}" for number in range(12)))
    token = preview(service, "acme", SeatRequest(seats={"full": 10}, release="suggested")).token
    world.board.turn({"api_500_probability": 1.0, "api_fault_routes": [CHANGES]})
    change = confirm(service, "acme", token)
    world.board.turn({"api_500_probability": 0.0})
    long_ago(service)
    assert settle(service, change.id).state == ChangeState.FAILED
    with service.sessions() as session:
        assert session.get_one(Account, "acme").seats["full"]["active"] == 12


def test_only_holders_of_a_reduced_seat_type_can_be_released(service: Runtime, sold: str):
    seated(service, "boss")
    seated(service, "guest-1", role="guest")
    for seats, release in ((23, ["boss"]), (16, ["guest-1"]), (16, ["nobody"])):
        with pytest.raises(ReleaseRefused):
            preview(service, "acme", SeatRequest(seats={"full": seats}, release=release))


def test_a_member_on_another_seat_type_when_a_reduction_is_applied_stays(
    service: Runtime, world: World, sold: str
):
    seated(service, *(f"member-{number}" for number in range(12)))
    change = scheduled(service, release=["member-3", "member-4"])
    with service.transaction() as session:
        claims.release(session, "acme", "member-3", a_cause())
    seated(service, "member-3", role="guest")
    world.apply(sold, actions.renew(world, Options()), silently=True)
    sync_subscription(service, sold, patience=5)
    assert the(service, change).state == ChangeState.APPLIED
    with service.sessions() as session:
        assert session.get_one(Account, "acme").seats["viewer"]["active"] == 1


def test_seats_that_come_from_elsewhere_cannot_be_given_back_here(service: Runtime, world: World, sold: str):
    sell_second_subscription(world, service, sold)
    with pytest.raises(BelowMinimum, match="5 full seats come from"):
        preview(service, "acme", SeatRequest(seats={"full": 4}, subscription_id=sold))


# At the renewal.


def unscheduled(world: World, name: str) -> None:
    world.apply(name, lambda one, _: changed(replace(one, scheduled_change=None)), silently=True)


def a_minute_later(runtime: Runtime) -> None:
    with runtime.sessions.begin() as session:
        session.execute(text("UPDATE seat_changes SET missed_at = missed_at - interval '1 minute'"))


def in_use(runtime: Runtime) -> tuple[int, int, str]:
    """People on full seats, full seats bought, and how the account stands."""
    with runtime.sessions() as session:
        account = session.get_one(Account, "acme")
    return account.seats["full"]["active"], purchased(runtime), account.status


def scheduled(service: Runtime, seats: int = 10, **more) -> SeatChange:
    wish = SeatRequest(seats={"full": seats}, when=When.AT_RENEWAL, **more)
    return confirm(service, "acme", preview(service, "acme", wish).token)


def test_a_reduction_at_the_renewal_keeps_seats_and_people_until_then(
    service: Runtime, world: World, sold: str
):
    seated(service, *(f"member-{number}" for number in range(12)))
    change = scheduled(service, release="suggested")
    assert (change.state, purchased(service)) == (ChangeState.SCHEDULED, 18)
    world.apply(sold, actions.renew(world, Options()), silently=True)
    sync_subscription(service, sold, patience=5)
    assert (the(service, change).state, purchased(service)) == (ChangeState.APPLIED, 10)
    assert {name: count for name, count in units(world, sold).items() if name not in SEATS} == {
        name: count for name, count in CART.items() if name not in SEATS
    }


def test_a_scheduled_change_can_be_cancelled(service: Runtime, world: World, sold: str):
    change = scheduled(service)
    assert cancel(service, "acme", change.id).state == ChangeState.CANCELLED
    assert world.state.get(sold).scheduled_change is None


def test_a_scheduled_change_cancelled_at_the_provider_is_seen_as_cancelled(
    service: Runtime, world: World, sold: str
):
    change = scheduled(service)
    unscheduled(world, sold)
    sync_subscription(service, sold, patience=5)
    assert the(service, change).state == ChangeState.SCHEDULED
    a_minute_later(service)
    assert settle(service, change.id).state == ChangeState.CANCELLED
    assert the(service, change).code == "no_longer_scheduled"


def test_a_scheduled_change_missing_in_one_sync_is_not_lost(service: Runtime, world: World, sold: str):
    """As at the renewal, when it may be neither scheduled any more nor carried out yet."""
    seated(service, *(f"member-{number}" for number in range(12)))
    change = scheduled(service, release="suggested")
    planned = world.state.get(sold).scheduled_change
    unscheduled(world, sold)
    sync_subscription(service, sold, patience=5)
    a_minute_later(service)
    assert settle(service, change.id).state == ChangeState.CANCELLED
    world.apply(sold, lambda one, _: changed(replace(one, scheduled_change=planned)), silently=True)
    world.apply(sold, actions.renew(world, Options()), silently=True)
    sync_subscription(service, sold, patience=5)
    assert the(service, change).state == ChangeState.APPLIED
    assert in_use(service) == (12, change.seats["full"]["after"], "over_limit")


def test_what_the_customer_scheduled_instead_is_not_cancelled(service: Runtime, world: World, sold: str):
    change = scheduled(service)
    planned = world.state.get(sold).scheduled_change
    assert planned is not None
    other = replace(planned, id="spc_portal", quantity=2)
    world.apply(sold, lambda one, _: changed(replace(one, scheduled_change=other)), silently=True)
    cancel(service, "acme", change.id)
    kept = world.state.get(sold).scheduled_change
    assert kept is not None
    assert kept.id == "spc_portal"


def test_holders_of_seats_bought_elsewhere_cancel_no_reduction(service: Runtime, world: World, sold: str):
    seated(service, *(f"member-{number}" for number in range(10)))
    change = scheduled(service)
    sell_second_subscription(world, service, sold)
    seated(service, "one-more")
    assert settle(service, change.id).state == ChangeState.SCHEDULED


def test_a_reduction_whose_seats_are_in_use_by_now_is_cancelled(service: Runtime, world: World, sold: str):
    seated(service, *(f"member-{number}" for number in range(10)))
    change = scheduled(service)
    assert settle(service, change.id).state == ChangeState.SCHEDULED
    seated(service, "one-more")
    assert settle(service, change.id).state == ChangeState.CANCELLED
    assert world.state.get(sold).scheduled_change is None


def test_an_applied_change_cannot_be_cancelled(service: Runtime, sold: str):
    done = confirm(service, "acme", preview(service, "acme", SeatRequest(seats={"full": 23})).token)
    with pytest.raises(NotCancellable):
        cancel(service, "acme", done.id)


def test_a_preview_can_be_cancelled(service: Runtime, sold: str):
    previewed = preview(service, "acme", SeatRequest(seats={"full": 23}))
    assert cancel(service, "acme", previewed.change.id).state == ChangeState.EXPIRED
    with pytest.raises(PreviewExpired):
        confirm(service, "acme", previewed.token)
