"""The door: HTTP in, HTTP out. `create_app(runtime, doorbell)` is the whole of it."""

from __future__ import annotations

from flask import Flask
from flask_openapi3 import Info, OpenAPI

from runtime.wiring import Runtime
from webhook_app import auth, problems
from webhook_app.accounts_api import accounts_api
from webhook_app.door import NAME, Door
from webhook_app.health import health
from webhook_app.members_api import members_api
from webhook_app.operator_api import operator_api
from webhook_app.seats_api import seats_api
from webhook_app.webhooks import MOST_BYTES, webhooks
from worker.doorbell import Doorbell


def create_app(runtime: Runtime, doorbell: Doorbell) -> Flask:
    """The web application over one runtime."""
    app = OpenAPI(
        __name__,
        info=Info(
            title="Seat Sync",
            version="1",
            description="Seat counts, claims and limits for SaaS teams billed through Dodo Payments.",
        ),
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        doc_prefix="",
        doc_url="/openapi.json",
        validation_error_callback=problems.invalid,
    )
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    # Ids are the app's and the provider's: a doubled slash in one is part of it, not a slip.
    app.url_map.merge_slashes = False
    app.extensions[NAME] = Door(runtime, doorbell)
    auth.install(app)
    problems.install(app)
    for routes in (seats_api, members_api, accounts_api, operator_api):
        app.register_api(routes)
    for plain in (webhooks, health):
        app.register_blueprint(plain)
    return app
