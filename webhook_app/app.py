"""The web application, put together of all routes."""

from __future__ import annotations

from flask import Flask

from runtime.wiring import Runtime
from webhook_app import openapi, problems
from webhook_app.accounts_api import accounts_api
from webhook_app.audit_api import audit_api
from webhook_app.auth import Gatekeeper
from webhook_app.bodies import MOST_BYTES
from webhook_app.checkout_api import checkout_api
from webhook_app.claims_api import claims_api
from webhook_app.door import NAME, Door
from webhook_app.explain_api import explain_api
from webhook_app.health import health
from webhook_app.leavers_api import leavers_api
from webhook_app.links_api import links_api
from webhook_app.members_api import members_api
from webhook_app.notices_api import notices_api
from webhook_app.operator_api import operator_api
from webhook_app.seat_changes_api import seat_changes_api
from webhook_app.seats_api import seats_api
from webhook_app.webhooks import webhooks
from worker.doorbell import Doorbell


def create_app(runtime: Runtime, doorbell: Doorbell, reserved: Runtime | None = None) -> Flask:
    """The web application over one runtime; deliveries and reads of seats use `reserved`, if it is given."""
    app = openapi.described_app()
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.extensions[NAME] = Door(runtime, doorbell, Gatekeeper(runtime), reserved=reserved)
    problems.install(app)
    for routes in (
        seats_api,
        seat_changes_api,
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
