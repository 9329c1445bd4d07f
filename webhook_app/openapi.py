"""`/openapi.json`: what the routes declare, and what holds for all of them alike."""

from __future__ import annotations

from typing import Any, Final

import orjson
from flask import Response
from flask_openapi3 import Info, OpenAPI

from webhook_app.idempotency import HEADER, LONGEST, REPLAYED
from webhook_app.problems import Problem
from webhook_app.sent_path import Segment, SentPath

_INFO: Final = Info(
    title="Seat Sync",
    version="1",
    description="Seat counts, claims and limits for SaaS teams billed through Dodo Payments. Ids in a path "
    "are percent-encoded, a slash as %2F: an encoded slash belongs to the id. Every error is a problem "
    "document (RFC 9457) with a stable `code`.",
)
_IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "For 24 hours the same key and body get the same answer, marked `Idempotency-Replayed`; "
    "with another body 422. Blanks and the order of names make no other body. Send a random key for each "
    "wish of a person, and repeat it only when the answer was lost. An answer that shows a member who was "
    "released since, or a release of one who is there again, is not repeated: the call is carried out again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
}
_REPLAYED: Final[dict[str, Any]] = {
    REPLAYED: {
        "description": "`true` if this answer was given before under the same Idempotency-Key",
        "schema": {"type": "string", "const": "true"},
    }
}
_WRITING: Final = frozenset({"post", "put", "patch", "delete"})


def described_app() -> OpenAPI:
    """An app without routes but `/openapi.json`: no pages, no static files."""
    app = OpenAPI(
        "webhook_app",
        info=_INFO,
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        doc_ui=False,
        static_folder=None,
        # The library adds its own error document wherever this status is not described; ours all have it.
        validation_error_model=Problem,
        validation_error_status=500,
    )
    app.url_map.merge_slashes = False
    app.url_map.converters["default"] = Segment
    app.wsgi_app = SentPath(app.wsgi_app)  # type: ignore[method-assign]
    return app


def publish(app: OpenAPI) -> None:
    """Serve the document of the routes the app has now."""
    document = app.api_doc
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1/") and method in _WRITING:
                operation["parameters"] = [*operation.get("parameters", []), _IDEMPOTENCY_KEY]
                operation["responses"] = {
                    status: {**described, "headers": _REPLAYED}
                    for status, described in operation["responses"].items()
                }
    body = orjson.dumps(document)
    app.add_url_rule(
        "/openapi.json", "openapi", lambda: Response(body, mimetype="application/json"), methods=["GET"]
    )
