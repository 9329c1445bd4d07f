"""The customer portal: a link to the provider's page with invoices and payment methods."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from models.api_key import Scope
from services.purchases.portal import open_portal
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.responses import WITH_BODY, json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.common import AccountPath
from webhook_app.schemas.portal import PortalBody, PortalOpened

portal_api = Routes("portal", tag="Seat changes")


@portal_api.post(
    "/v1/accounts/<account_id>/portal-session",
    summary="Open a customer portal session",
    description="A link to the provider's page where the customer who pays for the account sees invoices and "
    "changes the payment method. It is valid for 24 hours, and each call gives a new one. It is neither "
    "stored nor logged, so this call takes no Idempotency-Key, and may simply be repeated. 409 "
    "`several_customers` if more than one customer pays for the account: send `subscription_id`.",
    responses=responses(PortalOpened, *WITH_BODY, 404, 409, 502, also=201),
)
@needs(Scope.BILLING)
def open_portal_session(path: AccountPath, body: PortalBody) -> Response:
    runtime = app_context().runtime
    opened = app_context().slow_calls.wait_for(
        lambda: open_portal(
            runtime, path.account_id, subscription_id=body.subscription_id, return_url=body.return_url
        )
    )
    shown = {"url": opened.url, "customer_id": opened.customer_id}
    response = json_response(shown, HTTPStatus.CREATED)
    response.headers["Cache-Control"] = "no-store"
    return response
