"""Changes of one subscription: POST /_control/subscriptions/{id}/{action}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from simulator.billing import lifecycle, plan_change
from simulator.billing.bodies import own
from simulator.billing.lifecycle import GRACE, Outcome, Rule
from simulator.billing.subscription import AddonUnits, Cart, Subscription
from simulator.http.responses import answer
from simulator.json_text import parse_body
from simulator.refusal import Refusal
from simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of all actions. Each action uses some of them."""

    silently: bool = False
    status: str = "active"
    product_id: str | None = None
    quantity: int | None = None
    addons: tuple[AddonUnits, ...] | None = None
    grace_seconds: float = GRACE.total_seconds()
    payment: plan_change.Payment = plan_change.Payment.SUCCEEDS


OPTIONS = TypeAdapter(Options)
RuleFactory = Callable[[World, Options], Rule]


def set_status(_world: World, options: Options) -> Rule:
    return lifecycle.to_status(options.status)


def set_cart(world: World, options: Options) -> Rule:
    """Change the cart. Parts that are not given stay as they are."""

    def changed(subscription: Subscription, _now: datetime) -> Outcome:
        cart = Cart(
            product_id=options.product_id or subscription.product_id,
            quantity=subscription.quantity if options.quantity is None else options.quantity,
            addons=subscription.addons if options.addons is None else options.addons,
        )
        return plan_change.change(subscription, cart, world.catalog)

    return changed


def past_due(_world: World, options: Options) -> Rule:
    return partial(lifecycle.past_due, grace=timedelta(seconds=options.grace_seconds))


def renew(world: World, _options: Options) -> Rule:
    """Renew. The payment of a scheduled change goes as the knob says."""
    payment = world.board.now.plan_change_payment
    return partial(plan_change.renew, catalog=world.catalog, payment=payment)


def settle_plan_change(world: World, options: Options) -> Rule:
    return partial(plan_change.settle, catalog=world.catalog, payment=options.payment)


def update_payment_method(world: World, _options: Options) -> Rule:
    return partial(lifecycle.replace_payment_method, method_id=world.ids.new("pm"))


def always(rule: Rule) -> RuleFactory:
    return lambda _world, _options: rule


ACTIONS: Mapping[str, RuleFactory] = {
    "status": set_status,
    "cart": set_cart,
    "renew": renew,
    "activate": always(lifecycle.activate),
    "recover": always(lifecycle.recover),
    "hold": always(lifecycle.hold),
    "past-due": past_due,
    "pause": always(lifecycle.pause),
    "unpause": always(lifecycle.unpause),
    "cancel": always(lifecycle.cancel),
    "cancel-at-period-end": always(lifecycle.cancel_later),
    "undo-cancel": always(lifecycle.stay),
    "expire": always(lifecycle.expire),
    "fail": always(lifecycle.fail),
    "touch": always(lifecycle.touch),
    "update-payment-method": update_payment_method,
    "settle-plan-change": settle_plan_change,
}


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("actions", __name__, url_prefix="/subscriptions/<subscription_id>")

    @blueprint.post("/<action>")
    def act(subscription_id: str, action: str) -> Response:
        if action not in ACTIONS:
            raise Refusal.not_found(f"There is no action {action}. Known actions: {', '.join(ACTIONS)}")
        options = parse_body(OPTIONS, request.get_data() or b"{}")
        rule = ACTIONS[action](world, options)
        return answer(own(world.apply(subscription_id, rule, silently=options.silently)))

    return blueprint
