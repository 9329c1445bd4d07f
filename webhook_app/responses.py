"""JSON responses, and their description in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

import orjson
from flask import Response, request
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel

KEYED: Final = (400, 401, 403, 422, 503)
"""Statuses of the problems that every call with an API key may return."""

WRITING: Final = (*KEYED, 413)
"""Statuses of the problems that every writing call may return."""

WITH_BODY: Final = (*WRITING, 415)
"""Statuses of the problems that every call with a JSON body may return."""

_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def json_response(body: Any, status: int = HTTPStatus.OK) -> Response:
    """A JSON response. Times are in UTC and end in `Z`."""
    return Response(json_bytes(body), status, mimetype="application/json")


def json_bytes(body: Any) -> bytes:
    """The body of a JSON response. Times are in UTC and end in `Z`."""
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)


def conditional_response(body: bytes, etag: str) -> Response:
    """The JSON body with its ETag; 304 without a body if the caller sent the same ETag."""
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if_none_match = request.environ.get("HTTP_IF_NONE_MATCH")
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, mimetype="application/json")


def _matches(if_none_match: str, etag: str) -> bool:
    """True if the header contains the ETag. Weak ones match too: a proxy may have weakened ours."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


class _Numbered(Protocol):
    id: Any


def next_cursor(page: Sequence[_Numbered], limit: int) -> int | None:
    """The cursor of the next page: the id of the last row. None if the page is not full: it is the last."""
    return page[-1].id if len(page) == limit else None


def responses(
    shown: type[BaseModel] | None, *problems: int, also: int | tuple[int, ...] = ()
) -> ResponseDict:
    """The OpenAPI responses of a route: `shown` under 200 and `also`, problem documents under the others."""
    described: ResponseDict = {} if shown is None else {"200": shown}
    for status in (also,) if isinstance(also, int) else also:
        described[str(status)] = shown
    for status in (*problems, HTTPStatus.INTERNAL_SERVER_ERROR.value):
        described[str(status)] = {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
    return described
