"""Reads request bodies: the raw bytes, up to a limit and only if complete, and the JSON in them."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson
from flask import request
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

MAX_BYTES: Final = 1024 * 1024


def raw_body() -> bytes:
    """The body as it was sent. Raises 413 if it is longer than `MAX_BYTES`, 415 if it is compressed, and 400
    if it is malformed, too slow or shorter than announced: an incomplete request must not be carried out.
    """
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("Send the body uncompressed, without Content-Encoding.")
    try:
        body = request.get_data()
        is_too_long = len(body) == MAX_BYTES and request.content_length is None and _has_more()
    except HTTPException:
        raise
    except Exception as error:  # each server raises its own exceptions for an unreadable body
        raise BadRequest(
            "The body could not be read: it is incomplete, too slow, or has malformed chunks. Send it again."
        ) from error
    if is_too_long:
        raise RequestEntityTooLarge
    if request.content_length is not None and len(body) < request.content_length:
        raise BadRequest("The body is shorter than its Content-Length. Send it again.")
    return body


def _has_more() -> bool:
    """True if the body continues. Flask checks a Content-Length, but only truncates a chunked body."""
    return bool(request.environ["wsgi.input"].read(1) != b"")


def json_body() -> object:
    """The JSON in the body. Raises 415 if it has another Content-Type, 400 if it is not valid JSON.

    A repeated name in an object is refused, since JSON parsers differ in which of the two values they use.
    """
    if not request.is_json:
        raise UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json.")
    body = raw_body()
    if not body.strip():
        raise BadRequest("The body is empty. Send a JSON object.")
    try:
        parsed = orjson.loads(body)
        json.loads(body, object_pairs_hook=_object)  # orjson accepts repeated names
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            f"The body is not valid JSON in UTF-8, or is nested too deeply (line {error.lineno}, "
            f"column {error.colno})."
        ) from None
    except RecursionError:
        raise BadRequest("The JSON in the body is nested too deeply.") from None
    except _RepeatedNameError:
        raise BadRequest("An object in the body has the same name twice. Send each name once.") from None
    return parsed


class _RepeatedNameError(ValueError):
    """A JSON object has the same name twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _RepeatedNameError
    return members
