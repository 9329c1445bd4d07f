"""All charges with their results, and the customers' credit."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from simulator.billing.charge import Reason
from simulator.http.responses import answer
from simulator.json_text import parse_query
from simulator.world import World


@dataclass(frozen=True, slots=True)
class PaymentQuery:
    subscription_id: str | None = None
    reason: Reason | None = None


PAYMENT_QUERY = TypeAdapter(PaymentQuery)


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("payments", __name__)

    @blueprint.get("/payments")
    def list_payments() -> Response:
        query = parse_query(PAYMENT_QUERY, request.args.to_dict())
        with world.state.lock:
            charges = world.ledger.charges(query.subscription_id)
            found = [charge for charge in charges if query.reason in {None, charge.reason}]
            return answer({"payments": found, "credits": world.ledger.credits()})

    return blueprint
