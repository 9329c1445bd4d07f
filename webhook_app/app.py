"""Builds the Flask application from its routes, error handlers and OpenAPI document."""

from __future__ import annotations

from flask import Flask

from runtime.wiring import Runtime
from webhook_app import openapi, problems
from webhook_app.auth import ApiKeyAuth
from webhook_app.context import NAME, AppContext
from webhook_app.request_body import MAX_BYTES
from webhook_app.views.accounts import accounts_api
from webhook_app.views.audit import audit_api
from webhook_app.views.checkout import checkout_api
from webhook_app.views.claims import claims_api
from webhook_app.views.explain import explain_api
from webhook_app.views.health import health
from webhook_app.views.leavers import leavers_api
from webhook_app.views.links import links_api
from webhook_app.views.members import members_api
from webhook_app.views.notices import notices_api
from webhook_app.views.operators import operator_api
from webhook_app.views.prices import prices_api
from webhook_app.views.seat_changes import seat_changes_api
from webhook_app.views.seats import seats_api
from webhook_app.views.webhooks import webhooks
from worker.wake_ups import WakeUps


def create_app(runtime: Runtime, wake_ups: WakeUps, reserved: Runtime | None = None) -> Flask:
    """Build the web application. Deliveries and reads of seats use the `reserved` runtime, if it is given."""
    app = openapi.described_app()
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    app.extensions[NAME] = AppContext(runtime, wake_ups, ApiKeyAuth(runtime), reserved=reserved)
    problems.install(app)
    for routes in (
        seats_api,
        seat_changes_api,
        prices_api,
        checkout_api,
        claims_api,
        members_api,
        leavers_api,
        explain_api,
        audit_api,
        accounts_api,
        links_api,
        operator_api,
        notices_api,
        webhooks,
        health,
    ):
        app.register_api(routes)
    openapi.publish(app)
    return app
