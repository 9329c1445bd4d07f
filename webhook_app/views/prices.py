"""Prices: what seats would cost by the provider's list prices, while the number is chosen."""

from __future__ import annotations

from typing import Any, Final

from flask import Response

from domain.purchase.steps import cart_to_json, shown
from domain.seat_limit import to_json
from models.api_key import Scope
from services.purchases import price_list
from services.purchases.preview import SeatRequest
from services.purchases.price_list import Estimate, PriceLine
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.responses import KEYED, json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.common import AccountPath
from webhook_app.schemas.prices import AccountPricesQuery, PricesShown, ProductPath, ProductPricesQuery

prices_api = Routes("prices", tag="Seat changes")

_TAX: Final = {True: "included", False: "excluded", None: None}


@prices_api.get(
    "/v1/accounts/<account_id>/prices",
    summary="Estimate what seats would cost the account",
    description="List prices now and with the wanted seats, per billing period, and the cart that would be "
    "bought. Not binding: it knows no proration, no discount and no credit. The seat change preview states "
    "the provider's own figures. Prices are cached for ten minutes, longer while the provider cannot be "
    "reached.",
    responses=responses(PricesShown, *KEYED, 404, 409, 502),
)
@needs(Scope.READ)
def account_prices(path: AccountPath, query: AccountPricesQuery) -> Response:
    request = SeatRequest(**query.model_dump())
    estimate = app_context().slow_calls.wait_for(
        lambda: price_list.estimate_for_account(app_context().runtime, path.account_id, request)
    )
    return json_response({"account_id": path.account_id, **_shown(estimate)})


@prices_api.get(
    "/v1/products/<product_id>/prices",
    summary="Estimate what seats of a product would cost",
    description="For a first purchase: the list price per billing period and the cart that a checkout would "
    "have. Not binding: the checkout page states the amount with tax.",
    responses=responses(PricesShown, *KEYED, 404, 409, 502),
)
@needs(Scope.READ)
def product_prices(path: ProductPath, query: ProductPricesQuery) -> Response:
    estimate = app_context().slow_calls.wait_for(
        lambda: price_list.estimate_for_product(app_context().runtime, path.product_id, query.seats)
    )
    return json_response({"account_id": None, **_shown(estimate)})


def _shown(estimate: Estimate) -> dict[str, Any]:
    terms = estimate.prices.offer.product
    return {
        "binding": False,
        "subscription_id": estimate.subscription_id,
        "product_id": estimate.product.product_id,
        "product_name": estimate.product.name,
        "seats": {name: step.to_json() for name, step in estimate.seats.items()},
        "cart": cart_to_json(estimate.cart),
        "cart_now": None if estimate.present is None else cart_to_json(estimate.present),
        "lines": [_line(line) for line in estimate.lines],
        "price": shown(estimate.price),
        "price_now": shown(estimate.present_price),
        "difference": shown(estimate.difference),
        "billing_period": {"interval": terms.billing_interval, "count": terms.billing_count},
        "tax": _TAX[terms.tax_inclusive],
        "minimum": dict(estimate.product.minimum),
        "maximum": dict(estimate.product.maximum),
        "sentence": estimate.sentence,
        "prices_read_at": estimate.prices.read_at,
        "prices_age_seconds": int(estimate.prices.age.total_seconds()),
        "verified_at": estimate.verified_at,
    }


def _line(line: PriceLine) -> dict[str, Any]:
    return {
        "kind": line.kind.value,
        "id": line.item_id,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": shown(line.unit_price),
        "amount": shown(line.amount),
        "seats": {name: to_json(number) for name, number in line.seats.items()},
    }
