"""List, retrieve and update subscriptions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import AwareDatetime, Field, TypeAdapter

from simulator.billing import bodies
from simulator.billing.index import FILTERS
from simulator.billing.patch import Patch, patched
from simulator.billing.subscription import Status
from simulator.http.responses import answer
from simulator.json_text import parse_body, parse_query
from simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Pages are counted from zero. There is no filter by time of change, and no total in the response."""

    page_number: Annotated[int, Field(ge=0)] = 0
    page_size: Annotated[int, Field(ge=1, le=100)] = 10
    created_at_gte: AwareDatetime | None = None
    created_at_lte: AwareDatetime | None = None
    status: Status | None = None
    customer_id: str | None = None
    product_id: str | None = None
    brand_id: str | None = None
    cancel_at_next_billing_date: bool | None = None

    @property
    def filters(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if name in FILTERS and value is not None}


LIST_QUERY = TypeAdapter(ListQuery)
PATCH = TypeAdapter(Patch)


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("subscriptions", __name__, url_prefix="/subscriptions")

    @blueprint.get("")
    def list_subscriptions() -> Response:
        query = parse_query(LIST_QUERY, request.args.to_dict())
        found = world.state.page(
            number=query.page_number,
            size=query.page_size,
            filters=query.filters,
            since=query.created_at_gte,
            until=query.created_at_lte,
        )
        products = world.catalog.products
        return answer({"items": [bodies.item(each, products.get(each.product_id)) for each in found]})

    @blueprint.get("/<subscription_id>")
    def retrieve(subscription_id: str) -> Response:
        return answer(bodies.full(world.state.get(subscription_id)))

    @blueprint.patch("/<subscription_id>")
    def update(subscription_id: str) -> Response:
        patch = parse_body(PATCH, request.get_data())
        updated = world.apply(subscription_id, lambda subscription, now: patched(subscription, now, patch))
        return answer(bodies.full(updated))

    return blueprint
