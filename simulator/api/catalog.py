"""Products and add-ons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from flask import Blueprint, Response, request
from pydantic import Field, TypeAdapter

from simulator.billing.bodies import Body
from simulator.billing.catalog import Addon, Product
from simulator.billing.subscription import BRAND
from simulator.http.responses import answer
from simulator.json_text import parse_query
from simulator.world import World

Entry = TypeVar("Entry", Product, Addon)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    page_number: Annotated[int, Field(ge=0)] = 0
    page_size: Annotated[int, Field(ge=1, le=100)] = 10
    archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductQuery(PageQuery):
    recurring: bool | None = None


PAGE_QUERY = TypeAdapter(PageQuery)
PRODUCT_QUERY = TypeAdapter(ProductQuery)


def routes(world: World) -> Blueprint:
    blueprint = Blueprint("catalog", __name__)
    business_id = world.settings.business_id

    @blueprint.get("/products")
    def list_products() -> Response:
        query = parse_query(PRODUCT_QUERY, request.args.to_dict())
        products = world.catalog.products.values()
        wanted = [entry for entry in products if query.recurring in {None, entry.is_recurring}]
        found = _page(wanted, query)
        return answer({"items": [product_item(entry, business_id) for entry in found]})

    @blueprint.get("/products/<product_id>")
    def retrieve_product(product_id: str) -> Response:
        return answer(product_body(world.catalog.product(product_id), business_id))

    @blueprint.get("/addons")
    def list_addons() -> Response:
        query = parse_query(PAGE_QUERY, request.args.to_dict())
        found = _page(world.catalog.addons.values(), query)
        return answer({"items": [addon_body(entry, business_id) for entry in found]})

    @blueprint.get("/addons/<addon_id>")
    def retrieve_addon(addon_id: str) -> Response:
        return answer(addon_body(world.catalog.addon(addon_id), business_id))

    return blueprint


def _page(entries: Iterable[Entry], query: PageQuery) -> list[Entry]:
    shown = [entry for entry in entries if entry.archived == query.archived]
    start = query.page_number * query.page_size
    return shown[start : start + query.page_size]


def product_body(entry: Product, business_id: str) -> Body:
    return {
        **_core(entry, business_id),
        "addons": entry.addons,
        "brand_id": BRAND,
        "credit_entitlements": [],
        "license_key_enabled": False,
        "price": _price(entry),
    }


def product_item(entry: Product, business_id: str) -> Body:
    """A product in a list, where the price is a number and add-ons are not included."""
    return {
        **_core(entry, business_id),
        "currency": entry.currency,
        "price": entry.price,
        "price_detail": _price(entry),
        "tax_inclusive": entry.tax_inclusive,
    }


def addon_body(entry: Addon, business_id: str) -> Body:
    return {
        "id": entry.id,
        "business_id": business_id,
        "name": entry.name,
        "description": entry.description,
        "image": None,
        "price": entry.price,
        "currency": entry.currency,
        "tax_category": "saas",
        "created_at": entry.created_at,
        "updated_at": entry.created_at,
    }


def _core(entry: Product, business_id: str) -> Body:
    return {
        "product_id": entry.product_id,
        "business_id": business_id,
        "name": entry.name,
        "description": entry.description,
        "image": None,
        "is_recurring": entry.is_recurring,
        "tax_category": "saas",
        "entitlements": [],
        "metadata": entry.metadata,
        "pricing_mode": None,
        "created_at": entry.created_at,
        "updated_at": entry.created_at,
    }


def _price(entry: Product) -> Body:
    price: Body = {
        "type": "recurring_price" if entry.is_recurring else "one_time_price",
        "currency": entry.currency,
        "price": entry.price,
        "discount": 0,
        "purchasing_power_parity": False,
        "tax_inclusive": entry.tax_inclusive,
    }
    return {**price, **_cycle(entry)} if entry.is_recurring else price


def _cycle(entry: Product) -> Body:
    return {
        "payment_frequency_count": entry.payment_frequency_count,
        "payment_frequency_interval": entry.payment_frequency_interval,
        "subscription_period_count": entry.subscription_period_count,
        "subscription_period_interval": entry.subscription_period_interval,
        "trial_period_days": 0,
    }
