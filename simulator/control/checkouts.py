"""The customer's part of a checkout session."""

from __future__ import annotations

from flask import Blueprint, Response

from simulator.billing.charge import Result
from simulator.checkout_operations import pay, session_of
from simulator.http.responses import answer
from simulator.world import World


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("checkouts", __name__, url_prefix="/checkouts/<session_id>")

    @blueprint.get("")
    def show(session_id: str) -> Response:
        return answer(session_of(world, session_id))

    @blueprint.post("/complete")
    def complete(session_id: str) -> Response:
        return answer(pay(world, session_id, Result.SUCCEEDED))

    @blueprint.post("/fail")
    def fail(session_id: str) -> Response:
        return answer(pay(world, session_id, Result.FAILED))

    return blueprint
