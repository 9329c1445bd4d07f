"""`/openapi.json`: what the routes declare, and what applies to all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from flask import Response
from flask_openapi3 import Contact, Info, License, OpenAPI, Server

from domain import policies
from domain.notices import NoticeType
from models.api_key import Scope
from webhook_app.auth import needed_scope
from webhook_app.field_descriptions import DESCRIPTIONS, FORMATS
from webhook_app.idempotency import HEADER, MAX_LENGTH, REPLAYED
from webhook_app.problems import Problem
from webhook_app.sent_path import Segment, SentPath

_INFO: Final = Info(
    title="Seat Sync",
    version="1",
    description="Seat counts, claims and limits for SaaS teams billed through Dodo Payments. Percent-encode "
    "the ids in a path; a slash inside an id is %2F. Every error is a problem document (RFC 9457) with a "
    "stable `code`. A method that a path does not support is answered 405, with `Allow`.",
    contact=Contact(name="The operator of this service"),
    license=License(name="MIT", identifier="MIT"),
)
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
# The web server gives these answers before a request reaches its call.
_OF_EVERY_CALL: Final = (HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
_HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "401": {"WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}}},
    "503": {
        "Retry-After": {
            "description": "seconds after which to try again",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
_ETAG: Final[dict[str, Any]] = {
    "ETag": {
        "description": "send it as `If-None-Match` to get 304 while nothing has changed",
        "schema": {"type": "string"},
    }
}
_WEBHOOK_HEADERS: Final[Mapping[str, str]] = {
    "webhook-id": "the id of the message, the same for each repeat",
    "webhook-timestamp": "seconds since 1970, of this attempt",
    "webhook-signature": "one or more signatures, as Standard Webhooks specify",
}
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
_WRITING_METHODS: Final = frozenset({"post", "put", "patch", "delete"})


def described_app() -> OpenAPI:
    """An app without any routes yet: no documentation pages, no static files."""
    app = OpenAPI(
        "webhook_app",
        info=_INFO,
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        servers=[Server(url="/", description="this service")],
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
    scopes = dict(_scopes(app))
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _describe_answers(operation)
            if (scope := scopes.get((path, method))) is not None:
                _describe_scope(operation, scope)
            if path.startswith("/v1/") and method in _WRITING_METHODS:
                operation["parameters"] = [*operation.get("parameters", []), _IDEMPOTENCY_KEY]
                operation["responses"] = {
                    status: {**described, "headers": {**described.get("headers", {}), **_REPLAYED}}
                    for status, described in operation["responses"].items()
                }
    _describe_fields(document)
    document["webhooks"] = {kind.value: _webhook(kind) for kind in NoticeType}
    body = orjson.dumps(document)
    app.add_url_rule(
        "/openapi.json", "openapi", lambda: Response(body, mimetype="application/json"), methods=["GET"]
    )


def _scopes(app: OpenAPI) -> Iterator[tuple[tuple[str, str], Scope | None]]:
    """The scope that each call needs, by its path and method."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        path = re.sub(r"<(?:[a-z]+:)?(\w+)>", r"{\1}", rule.rule)
        for method in rule.methods or ():
            yield (path, method.lower()), needed_scope(view)


def _describe_scope(operation: dict[str, Any], scope: Scope) -> None:
    needs = f"Needs a key with the scope `{scope.value}`."
    operation["description"] = " ".join(part for part in (operation.get("description"), needs) if part)
    operation["security"] = [{name: [scope.value] for name in one} for one in operation["security"]]


def _describe_answers(operation: dict[str, Any]) -> None:
    """Add the answers that every call may have, and the headers of answers."""
    answers = operation["responses"]
    for status in _OF_EVERY_CALL:
        answers.setdefault(str(status.value), {"description": status.phrase, "content": _PROBLEM})
    is_conditional = "304" in answers
    for status_text, answer in answers.items():
        headers = dict(_HEADERS.get(status_text, {}))
        if is_conditional and status_text in {"200", "304"}:
            headers |= _ETAG
        if headers:
            answer["headers"] = headers


def _describe_fields(document: dict[str, Any]) -> None:
    """Add descriptions, formats and the words of policies where the schemas have none."""
    for schema in document["components"]["schemas"].values():
        for name, field in schema.get("properties", {}).items():
            _describe_field(name, field)
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if name_text := DESCRIPTIONS.get(parameter["name"]):
                    parameter.setdefault("description", name_text)


def _describe_field(name: str, field: dict[str, Any]) -> None:
    if name in DESCRIPTIONS:
        field.setdefault("description", DESCRIPTIONS[name])
    for choice in (field, *field.get("anyOf", ())):
        if choice.get("type") == "string" and "enum" not in choice:
            if name in FORMATS:
                choice.setdefault("format", FORMATS[name])
            if name == "policy":
                choice["enum"] = list(policies.names())


def _webhook(kind: NoticeType) -> dict[str, Any]:
    """The description of a notice, which the service sends to the endpoints of the app."""
    envelope = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": kind.value, "description": "the type of the notice"},
            "timestamp": {"type": "string", "format": "date-time", "description": "when it became true"},
            "data": {
                "type": "object",
                "description": "figures and ids; never names or addresses",
                "properties": {"account_id": {"type": "string", "description": DESCRIPTIONS["account_id"]}},
            },
        },
    }
    headers = [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in _WEBHOOK_HEADERS.items()
    ]
    return {
        "post": {
            "operationId": f"notice_{kind.name.lower()}",
            "summary": f"Notice `{kind.value}`",
            "description": "Signed as Standard Webhooks specify, and repeated for about a day until it is "
            "answered 2xx. The manual's page on notices says when each type is sent.",
            "tags": ["Notices"],
            "parameters": headers,
            "requestBody": {"required": True, "content": {"application/json": {"schema": envelope}}},
            "responses": {
                "204": {"description": "The notice was received"},
                "410": {"description": "The endpoint is to be disabled"},
            },
        }
    }
