"""The token of a preview is good for the state of the subscription it was made of, and for no other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from domain.errors import SubscriptionChanged
from models.seat_change import ChangeState, SeatChange
from runtime.wiring import Runtime
from services.purchases.confirm import confirm
from services.purchases.preview import Previewed, SeatRequest, preview
from simulator import plan_operations
from simulator.billing import lifecycle, portal
from simulator.billing.lifecycle import Rule
from simulator.billing.plan_request import AttachedAddon
from simulator.billing.scheduled_change import drop_schedule
from simulator.billing.subscription import AddonUnits
from simulator.control import actions
from simulator.control.actions import Options
from simulator.control.portal import Edit, chosen
from simulator.world import World
from tests.simulated import CHANGES, sell, units

CART = {"adn_seat": 3, "adn_pack_10": 1, "adn_viewer": 4, "adn_support": 1}
Happening = Callable[[World, str], object]


@pytest.fixture
def sold(service: Runtime, world: World) -> str:
    """Eighteen full seats and four viewers, and everything else a cart can hold."""
    return sell(world, service, CART)


def five_more(service: Runtime) -> Previewed:
    return preview(service, "acme", SeatRequest(seats={"full": 23}))


def sent(world: World) -> int:
    """How many changes the provider received, applied or refused."""
    routes = world.requests.report(0)["routes"]
    assert isinstance(routes, dict)
    return int(routes.get(CHANGES, 0))


def by(rule: Rule) -> Happening:
    return lambda world, name: world.apply(name, rule, silently=True)


def renewed(world: World, name: str) -> None:
    world.apply(name, actions.renew(world, Options()), silently=True)


def paused_for_a_day(world: World, name: str) -> None:
    world.apply(name, lambda one, now: lifecycle.pause(one, now - timedelta(days=1)), silently=True)
    world.apply(name, portal.unpause, silently=True)


def scheduled_in_the_portal(world: World, name: str) -> None:
    edit = Edit(addons=(AttachedAddon("adn_seat", 1),), effective_at="next_billing_date")
    plan_operations.change(world, name, chosen(world, world.state.get(name), edit), silently=True)


def changed_in_the_portal(world: World, name: str) -> None:
    edit = Edit(addons=(AttachedAddon("adn_seat", 8),), effective_at="immediately")
    plan_operations.change(world, name, chosen(world, world.state.get(name), edit), silently=True)


def recarted(world: World, name: str, **to: int) -> None:
    addons = tuple(AddonUnits(*one) for one in {**CART, **to}.items())
    world.apply(name, actions.set_cart(world, Options(addons=addons)), silently=True)


def support_taken_out(world: World, name: str) -> None:
    recarted(world, name, adn_support=0)


def bought_as_wished(world: World, name: str) -> None:
    recarted(world, name, adn_seat=8)


def bought_twice(world: World, name: str) -> None:
    world.apply(name, actions.set_cart(world, Options(quantity=2)), silently=True)


HAPPENINGS: dict[str, Happening] = {
    "renewed": renewed,
    "paused": by(portal.pause),
    "scheduled_in_the_portal": scheduled_in_the_portal,
    "cancelled_at_period_end": by(portal.cancel_later),
    "payment_on_hold": by(lifecycle.hold),
    "payment_past_due": by(lifecycle.past_due),
    "cancelled": by(lifecycle.cancel),
    "changed_in_the_portal": changed_in_the_portal,
    "support_taken_out": support_taken_out,
    "bought_as_wished": bought_as_wished,
    "bought_twice": bought_twice,
    "paused_for_a_day": paused_for_a_day,
}


@pytest.mark.parametrize("happens", HAPPENINGS.values(), ids=HAPPENINGS)
def test_what_was_previewed_before_something_happened_is_refused_and_not_sent(
    service: Runtime, world: World, sold: str, happens: Happening
):
    previewed = five_more(service)
    happens(world, sold)
    with pytest.raises(SubscriptionChanged, match="Preview again") as refusal:
        confirm(service, "acme", previewed.token)
    assert (refusal.value.code, refusal.value.details["change_id"]) == (
        "subscription_changed",
        previewed.change.id,
    )
    assert sent(world) == 0


UNDONE: dict[str, tuple[Happening, Happening]] = {
    "cancellation_taken_back": (by(portal.cancel_later), by(portal.stay)),
    "schedule_taken_back": (scheduled_in_the_portal, by(lambda one, _: drop_schedule(one))),
    "cart_put_back": (support_taken_out, recarted),
}


@pytest.mark.parametrize(("happens", "is_undone"), UNDONE.values(), ids=UNDONE)
def test_what_was_refused_can_be_confirmed_once_everything_is_as_it_was(
    service: Runtime, world: World, sold: str, happens: Happening, is_undone: Happening
):
    token = five_more(service).token
    happens(world, sold)
    with pytest.raises(SubscriptionChanged):
        confirm(service, "acme", token)
    is_undone(world, sold)
    assert confirm(service, "acme", token).state == ChangeState.APPLIED
    assert (units(world, sold), sent(world)) == ({**CART, "adn_seat": 8}, 1)


def test_what_happened_is_in_the_next_preview_which_can_be_confirmed(
    service: Runtime, world: World, sold: str
):
    token = five_more(service).token
    renewed(world, sold)
    support_taken_out(world, sold)
    with pytest.raises(SubscriptionChanged):
        confirm(service, "acme", token)
    assert confirm(service, "acme", five_more(service).token).state == ChangeState.APPLIED
    assert units(world, sold) == {"adn_seat": 8, "adn_pack_10": 1, "adn_viewer": 4}


def test_changes_outside_the_plan_are_no_reason_to_refuse(service: Runtime, world: World, sold: str):
    token = five_more(service).token
    world.apply(sold, lifecycle.touch, silently=True)
    world.apply(sold, actions.update_payment_method(world, Options()), silently=True)
    assert confirm(service, "acme", token).state == ChangeState.APPLIED


def test_a_refused_token_stays_a_preview_and_is_not_shown_as_sent(service: Runtime, world: World, sold: str):
    previewed = five_more(service)
    renewed(world, sold)
    with pytest.raises(SubscriptionChanged):
        confirm(service, "acme", previewed.token)
    with service.sessions() as session:
        kept = session.get_one(SeatChange, previewed.change.id)
    assert (kept.state, kept.sent_at) == (ChangeState.PREVIEWED, None)
