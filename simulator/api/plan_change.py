"""Change the plan of a subscription, or drop a change that is scheduled."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from simulator.answers import answer, nothing
from simulator.jsontext import parse_body
from simulator.lifecycle import Outcome
from simulator.plan_change import change_now, drop_schedule, schedule
from simulator.plan_request import PlanRequest, check_plan_change
from simulator.refusal import Refusal
from simulator.subscription import Subscription
from simulator.world import World

PLAN_REQUEST = TypeAdapter(PlanRequest)
SETTLED_BY_MANDATE = {"payment_id": None, "payment_link": None, "client_secret": None, "expires_on": None}


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("plan_change", __name__, url_prefix="/subscriptions/<subscription_id>/change-plan")

    @blueprint.post("")
    def change_plan(subscription_id: str) -> Response:
        """Four nulls, whatever becomes of the change: nothing may be provisioned from this answer."""
        wanted = parse_body(PLAN_REQUEST, request.get_data())

        def changed(subscription: Subscription, now: datetime) -> Outcome:
            knobs = world.board.now
            check_plan_change(subscription, wanted, world.catalog)
            if not wanted.is_scheduled:
                return change_now(subscription, now, wanted, world.catalog, knobs.plan_change_payment)
            if knobs.refuse_proration_when_scheduled:
                check_scheduled_mode(wanted)
            return schedule(subscription, now, wanted.cart, world.catalog, world.ids.new("spc"))

        world.apply(subscription_id, changed)
        return answer(SETTLED_BY_MANDATE)

    @blueprint.delete("/scheduled")
    def drop_scheduled(subscription_id: str) -> Response:
        if world.state.find(subscription_id) is None:
            raise Refusal(422, "NOT_FOUND", f"Subscription {subscription_id} does not exist")
        world.apply(subscription_id, lambda subscription, _now: drop_schedule(subscription))
        return nothing()

    return blueprint


def check_scheduled_mode(wanted: PlanRequest) -> None:
    """The provider's error page knows this rule and its newer guide does not, hence a knob."""
    if wanted.proration_billing_mode != "full_immediately":
        raise Refusal.unprocessable(
            "INVALID_PRORATION_MODE_WITH_NEXT_BILLING_DATE", "Only full_immediately can be scheduled"
        )
