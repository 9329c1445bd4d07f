"""`/openapi.json`: what the routes declare, and what applies to all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from flask import Response
from flask_openapi3 import Info, OpenAPI

from models.api_key import Scope
from webhook_app.auth import needed_scope
from webhook_app.idempotency import HEADER, MAX_LENGTH, REPLAYED
from webhook_app.problems import Problem
from webhook_app.sent_path import Segment, SentPath

_INFO: Final = Info(
    title="Seat Sync",
    version="1",
    description="Seat counts, claims and limits for SaaS teams billed through Dodo Payments. Percent-encode "
    "the ids in a path; a slash inside an id is %2F. Every error is a problem document (RFC 9457) with a "
    "stable `code`.",
)
_IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "For 24 hours, the same key with the same body gets the same response, marked "
    "`Idempotency-Replayed`; with another body it gets 422. Whitespace and the order of JSON names do not "
    "matter. Send a new random key for each action of a user, and repeat a key only if the response was "
    "lost. A stored response that is out of date (it shows a member who was released since, or a release of "
    "a member who is back) is not repeated: the call is carried out again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
}
_REPLAYED: Final[dict[str, Any]] = {
    REPLAYED: {
        "description": "`true` if this response was given before under the same Idempotency-Key",
        "schema": {"type": "string", "const": "true"},
    }
}
# Their responses hold a secret link and are not stored, so an Idempotency-Key would have no effect.
_UNSTORED: Final = frozenset({"/v1/accounts/{account_id}/portal-session"})
_WRITING_METHODS: Final = frozenset({"post", "put", "patch", "delete"})


def described_app() -> OpenAPI:
    """An app without any routes yet: no documentation pages, no static files."""
    app = OpenAPI(
        "webhook_app",
        info=_INFO,
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        doc_ui=False,
        static_folder=None,
        # The library adds its own error schema to routes that do not describe this status. All of ours do.
        validation_error_model=Problem,
        validation_error_status=500,
    )
    app.url_map.merge_slashes = False
    app.url_map.converters["default"] = Segment
    app.wsgi_app = SentPath(app.wsgi_app)  # type: ignore[method-assign]
    return app


def publish(app: OpenAPI) -> None:
    """Serve the OpenAPI document of the routes that are registered now."""
    document = app.api_doc
    scopes = _scopes(app)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if (scope := scopes[path, method]) is not None:
                described = operation.get("description")
                needed = f"Needs a key with the scope `{scope.value}`."
                operation["description"] = f"{described} {needed}" if described else needed
            if path.startswith("/v1/") and method in _WRITING_METHODS and path not in _UNSTORED:
                operation["parameters"] = [*operation.get("parameters", []), _IDEMPOTENCY_KEY]
                operation["responses"] = {
                    status: {**described, "headers": _REPLAYED}
                    for status, described in operation["responses"].items()
                }
    body = orjson.dumps(document)
    app.add_url_rule(
        "/openapi.json", "openapi", lambda: Response(body, mimetype="application/json"), methods=["GET"]
    )


def _scopes(app: OpenAPI) -> Mapping[tuple[str, str], Scope | None]:
    """The scope that each call needs, by its path and method as the document writes them."""
    return {
        (re.sub(r"<(?:[a-z]+:)?(\w+)>", r"{\1}", rule.rule), method.lower()): needed_scope(
            app.view_functions[rule.endpoint]
        )
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
