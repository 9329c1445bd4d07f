"""Add or change products and add-ons."""

from __future__ import annotations

from flask import Blueprint, Response, request
from pydantic import TypeAdapter

from simulator.billing.catalog import Addon, Product
from simulator.http.responses import answer
from simulator.json_text import parse_body
from simulator.world import World

PRODUCT = TypeAdapter(Product)
ADDON = TypeAdapter(Addon)


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("catalog", __name__)

    @blueprint.post("/products")
    def put_product() -> Response:
        product = parse_body(PRODUCT, request.get_data())
        world.catalog.put_product(product)
        return answer(product, 201)

    @blueprint.post("/addons")
    def put_addon() -> Response:
        addon = parse_body(ADDON, request.get_data())
        world.catalog.put_addon(addon)
        return answer(addon, 201)

    return blueprint
