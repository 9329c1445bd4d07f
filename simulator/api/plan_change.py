"""Preview or change the plan of a subscription, or cancel a scheduled change."""

from __future__ import annotations

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from simulator import plan_operations
from simulator.billing.plan_request import PlanRequest
from simulator.billing.previews import preview_body
from simulator.billing.scheduled_change import drop_schedule
from simulator.http.responses import answer, nothing
from simulator.json_text import parse_body
from simulator.refusal import Refusal
from simulator.world import World

PLAN_REQUEST = TypeAdapter(PlanRequest)
SETTLED_BY_MANDATE = {"payment_id": None, "payment_link": None, "client_secret": None, "expires_on": None}


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("plan_change", __name__, url_prefix="/subscriptions/<subscription_id>/change-plan")

    @blueprint.post("")
    def change_plan(subscription_id: str) -> Response:
        """The response is four nulls whatever the outcome. It does not tell whether the plan was changed."""
        plan_operations.change(world, subscription_id, parse_body(PLAN_REQUEST, request.get_data()))
        return answer(SETTLED_BY_MANDATE)

    @blueprint.post("/preview")
    def preview(subscription_id: str) -> Response:
        wanted = parse_body(PLAN_REQUEST, request.get_data())
        return answer(preview_body(plan_operations.preview(world, subscription_id, wanted)))

    @blueprint.delete("/scheduled")
    def drop_scheduled(subscription_id: str) -> Response:
        if world.state.find(subscription_id) is None:
            raise Refusal(422, "NOT_FOUND", f"Subscription {subscription_id} does not exist")
        world.apply(subscription_id, lambda subscription, _now: drop_schedule(subscription))
        return nothing()

    return blueprint
