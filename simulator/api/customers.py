"""Links to the customer portal."""

from __future__ import annotations

from flask import Blueprint, Response

from simulator.http.responses import answer
from simulator.world import World

PORTAL = "https://portal.simulator.example/session"


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("customers", __name__, url_prefix="/customers")

    @blueprint.post("/<customer_id>/customer-portal/session")
    def open_portal(customer_id: str) -> Response:
        """A link for a known customer. What customers do in the portal is simulated by the control API."""
        world.state.customer(customer_id)
        return answer({"link": f"{PORTAL}/{world.ids.new('cps')}"})

    return blueprint
