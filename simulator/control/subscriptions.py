"""Create, show, change and remove subscriptions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import Field, TypeAdapter

from simulator.billing.bodies import own
from simulator.billing.lifecycle import changed
from simulator.billing.new_subscription import with_fields
from simulator.http.responses import answer, nothing
from simulator.json_text import parse_body, parse_query
from simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """`count` subscriptions like `subscription`, for accounts `{account_prefix}-0` and so on."""

    count: Annotated[int, Field(ge=1, le=1_000_000)]
    account_prefix: str | None = "account"
    silently: bool = True
    subscription: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpQuery:
    page_number: Annotated[int, Field(ge=0)] = 0
    page_size: Annotated[int, Field(ge=1)] = 1000


BULK = TypeAdapter(Bulk)
DUMP_QUERY = TypeAdapter(DumpQuery)
FIELDS = TypeAdapter(dict[str, object])


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("subscriptions", __name__, url_prefix="/subscriptions")

    @blueprint.post("")
    def create() -> Response:
        fields = parse_body(FIELDS, request.get_data() or b"{}")
        silently = bool(fields.pop("silently", False))
        return answer(own(world.open(fields, silently=silently)), 201)

    @blueprint.post("/bulk")
    def create_many() -> Response:
        bulk = parse_body(BULK, request.get_data())
        ids = world.open_many(bulk.subscription, bulk.count, bulk.account_prefix, silently=bulk.silently)
        return answer({"count": len(ids), "ids": ids}, 201)

    @blueprint.get("")
    def dump() -> Response:
        query = parse_query(DUMP_QUERY, request.args.to_dict())
        everything = world.state.all()
        start = query.page_number * query.page_size
        return answer(
            {
                "total": len(everything),
                "statuses": Counter(str(subscription.status) for subscription in everything),
                "items": [own(subscription) for subscription in everything[start : start + query.page_size]],
            }
        )

    @blueprint.get("/<subscription_id>")
    def show(subscription_id: str) -> Response:
        return answer(own(world.state.get(subscription_id)))

    @blueprint.patch("/<subscription_id>")
    def update(subscription_id: str) -> Response:
        """Set any field to any value. The only event is `subscription.updated`."""
        fields = parse_body(FIELDS, request.get_data())
        silently = bool(fields.pop("silently", False))
        fields.pop("subscription_id", None)
        after = world.apply(
            subscription_id,
            lambda subscription, _now: changed(with_fields(subscription, fields)),
            silently=silently,
        )
        return answer(own(after))

    @blueprint.delete("/<subscription_id>")
    def remove(subscription_id: str) -> Response:
        """Remove the subscription, so that a retrieve gives a 404."""
        world.state.remove(subscription_id)
        return nothing()

    return blueprint
