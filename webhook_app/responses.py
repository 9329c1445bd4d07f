"""Answers: JSON bodies, and what the OpenAPI document says of them."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

import orjson
from flask import Response, request
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel

KEYED: Final = (400, 401, 403, 422, 503)
"""The problems of every call that needs a key."""

WRITING: Final = (*KEYED, 413)
"""The problems of every call that writes."""

WITH_BODY: Final = (*WRITING, 415)
"""The problems of every call that takes a JSON body."""

_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def answer(body: Any, status: int = HTTPStatus.OK) -> Response:
    """A JSON answer; times in UTC with a `Z`."""
    return Response(dumped(body), status, mimetype="application/json")


def dumped(body: Any) -> bytes:
    """The JSON of an answer; times in UTC with a `Z`."""
    return orjson.dumps(body, option=orjson.OPT_UTC_Z)


def conditional(body: bytes, etag: str) -> Response:
    """The finished JSON body under its validator; 304 if the caller has it already."""
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    known = request.environ.get("HTTP_IF_NONE_MATCH")
    if known is not None and _names(known, etag):
        return Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, mimetype="application/json")


def _names(known: str, etag: str) -> bool:
    """True if the header names the validator, strong or weak: a proxy may have changed that."""
    tags = [one.strip().removeprefix("W/") for one in known.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


class _Numbered(Protocol):
    id: Any


def next_cursor(page: Sequence[_Numbered], limit: int) -> int | None:
    """Where the next page begins, behind the last of a full one; None where this was not full."""
    return page[-1].id if len(page) == limit else None


def responses(
    shown: type[BaseModel] | None, *problems: int, also: int | tuple[int, ...] = ()
) -> ResponseDict:
    """The OpenAPI responses of a route: its document under 200 (and `also`), problems under the rest."""
    described: ResponseDict = {} if shown is None else {"200": shown}
    for status in (also,) if isinstance(also, int) else also:
        described[str(status)] = shown
    for status in (*problems, HTTPStatus.INTERNAL_SERVER_ERROR.value):
        described[str(status)] = {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
    return described
