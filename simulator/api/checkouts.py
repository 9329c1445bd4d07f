"""Create and retrieve checkout sessions."""

from __future__ import annotations

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from simulator.billing.checkout import CheckoutRequest
from simulator.checkout_operations import open_session, session_of
from simulator.http.responses import answer
from simulator.json_text import parse_body
from simulator.world import World

CHECKOUT_REQUEST = TypeAdapter(CheckoutRequest)
CHECKOUT = "https://checkout.simulator.example/session"
NOT_CONFIRMED = {"client_secret": None, "payment_id": None, "publishable_key": None}


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("checkouts", __name__, url_prefix="/checkouts")

    @blueprint.post("")
    def create() -> Response:
        session_id = open_session(world, parse_body(CHECKOUT_REQUEST, request.get_data())).session_id
        address = f"{CHECKOUT}/{session_id}"
        return answer({"session_id": session_id, "checkout_url": address, **NOT_CONFIRMED})

    @blueprint.get("/<session_id>")
    def retrieve(session_id: str) -> Response:
        """The session without its subscription, which only a webhook reports."""
        session = session_of(world, session_id)
        return answer(
            {
                "id": session.session_id,
                "created_at": session.created_at,
                "customer_email": session.customer.email,
                "customer_name": session.customer.name,
                "payment_id": session.payment_id,
                "payment_status": session.payment_status,
            }
        )

    return blueprint
