"""Checkout: open the provider's page on which an account buys its first subscription."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from flask import Response

from domain.purchase.plan import Buyer
from domain.seat_limit import to_json
from models.api_key import Scope
from services.purchases.checkout import CheckoutRequest, OpenedCheckout, open_checkout
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_after_call
from webhook_app.responses import WITH_BODY, responses
from webhook_app.routes import Routes
from webhook_app.schemas.accounts import NewAccountPath
from webhook_app.schemas.checkout import CheckoutBody, CheckoutOpened

checkout_api = Routes("checkout", tag="Seat changes")


@checkout_api.post(
    "/v1/accounts/<account_id>/checkout",
    summary="Open a checkout page for the account",
    description="Converts the seats to the cheapest add-ons or packs of the product and writes the account "
    "id to the subscription's metadata, so that the first webhook after the payment assigns the "
    "subscription to the account. 409 `subscription_exists` if the account already pays for a subscription: "
    "use a seat change instead, or send `second_subscription`.",
    responses=responses(CheckoutOpened, *WITH_BODY, 404, 409, 502, also=201),
)
@needs(Scope.BILLING)
def checkout(path: NewAccountPath, body: CheckoutBody) -> Response:
    customer = body.customer.model_dump() if body.customer else {}
    purchase = CheckoutRequest(
        product_id=body.product_id,
        seats=body.seats,
        buyer=Buyer(**customer),
        return_url=body.return_url,
        is_second=body.second_subscription,
    )

    def open_page() -> Result:
        opened = open_checkout(app_context().runtime, path.account_id, purchase)
        return Result(HTTPStatus.CREATED, _shown(opened))

    return respond_after_call(lambda: app_context().slow_calls.wait_for(open_page))


def _shown(opened: OpenedCheckout) -> dict[str, Any]:
    return {
        "checkout_url": opened.checkout.url,
        "session_id": opened.checkout.session_id,
        "product_id": opened.cart.product_id,
        "quantity": opened.cart.quantity,
        "addons": [asdict(addon) for addon in opened.cart.addons],
        "seats": {seat_type: to_json(number) for seat_type, number in opened.seats.items()},
    }
