"""Links to the customer portal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import Field, TypeAdapter

from simulator.http.responses import answer
from simulator.json_text import parse_query
from simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalQuery:
    """Where the portal leads back to, and whether the customer is sent the link by e-mail."""

    return_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    send_email: bool = False


PORTAL_QUERY = TypeAdapter(PortalQuery)
PORTAL = "https://portal.simulator.example/session"


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("customers", __name__, url_prefix="/customers")

    @blueprint.post("/<customer_id>/customer-portal/session")
    def open_portal(customer_id: str) -> Response:
        """A link for a known customer. What customers do in the portal is simulated by the control API."""
        parse_query(PORTAL_QUERY, request.args.to_dict())
        world.state.customer(customer_id)
        return answer({"link": f"{PORTAL}/{world.ids.new('cps')}"})

    return blueprint
