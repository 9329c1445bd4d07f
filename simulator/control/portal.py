"""The customer's actions in the portal: POST /_control/subscriptions/{id}/portal/{action}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from simulator import plan_operations
from simulator.billing import portal
from simulator.billing.bodies import own
from simulator.billing.lifecycle import Rule
from simulator.billing.plan_request import AttachedAddon, Moment, PlanRequest, ProrationMode, Units
from simulator.billing.scheduled_change import drop_schedule
from simulator.billing.subscription import Subscription
from simulator.http.responses import answer
from simulator.json_text import parse_body
from simulator.refusal import Refusal
from simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The cart that a customer chooses. Parts that are not given stay as they are."""

    product_id: str | None = None
    quantity: Units | None = None
    addons: tuple[AttachedAddon, ...] | None = None
    effective_at: Moment | None = None
    proration_billing_mode: ProrationMode = "prorated_immediately"


EDIT = TypeAdapter(Edit)
ACTIONS: Mapping[str, Rule] = {
    "cancel-at-period-end": portal.cancel_later,
    "undo-cancel": portal.stay,
    "pause": portal.pause,
    "unpause": portal.unpause,
    "cancel-scheduled-change": lambda subscription, _now: drop_schedule(subscription),
}


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("portal", __name__, url_prefix="/subscriptions/<subscription_id>/portal")

    @blueprint.post("/change-plan")
    def change_plan(subscription_id: str) -> Response:
        """Uses the same checks, prices and payments as the merchant's own plan change."""
        edit = parse_body(EDIT, request.get_data() or b"{}")
        with world.state.lock:
            wanted = chosen(world, world.state.get(subscription_id), edit)
            portal.check_mode(wanted)
            return answer(own(plan_operations.change(world, subscription_id, wanted)))

    @blueprint.post("/<action>")
    def act(subscription_id: str, action: str) -> Response:
        if action not in ACTIONS:
            raise Refusal.not_found(
                f"There is no action {action}. Known actions: change-plan, {', '.join(ACTIONS)}"
            )
        return answer(own(world.apply(subscription_id, ACTIONS[action])))

    return blueprint


def chosen(world: World, subscription: Subscription, edit: Edit) -> PlanRequest:
    held = tuple(AttachedAddon(units.addon_id, units.quantity) for units in subscription.addons)
    wanted = PlanRequest(
        product_id=edit.product_id or subscription.product_id,
        quantity=edit.quantity or subscription.quantity,
        addons=held if edit.addons is None else edit.addons,
        proration_billing_mode=edit.proration_billing_mode,
    )
    moment = edit.effective_at or portal.default_moment(subscription.cart, wanted.cart, world.catalog)
    return replace(wanted, effective_at=moment)
