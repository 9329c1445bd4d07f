"""Request bodies: the raw bytes, up to a limit, whole or not at all; and the JSON in them."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson
from flask import request
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

MOST_BYTES: Final = 1024 * 1024


def raw_body() -> bytes:
    """The bytes as they were sent. Raises 413 for more than `MOST_BYTES`, 415 for a packed body, and 400 for
    one that is malformed, too slow, or shorter than announced: what arrives in part must not be carried out.
    """
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("The body must be sent as it is, without Content-Encoding.")
    try:
        body = request.get_data()
        is_cut_off = len(body) == MOST_BYTES and request.content_length is None and _goes_on()
    except HTTPException:
        raise
    except Exception as error:  # each server has exceptions of its own for a body that it cannot read
        raise BadRequest(
            "The body could not be read: it breaks off, arrives too slowly, or has malformed chunks."
        ) from error
    if is_cut_off:
        raise RequestEntityTooLarge
    if request.content_length is not None and len(body) < request.content_length:
        raise BadRequest("The body is shorter than its Content-Length. Send it again.")
    return body


def _goes_on() -> bool:
    """Whether there is more: Flask refuses by Content-Length, but cuts a body in chunks off at the limit."""
    return bool(request.environ["wsgi.input"].read(1) != b"")


def json_body() -> object:
    """The JSON in the body; raises 415 if it is sent as something else, 400 if it is none.

    A name that an object holds twice is refused: readers differ in which of the two they believe.
    """
    if not request.is_json:
        raise UnsupportedMediaType("The body must be JSON, sent with Content-Type: application/json.")
    body = raw_body()
    if not body.strip():
        raise BadRequest("The body is empty. Send a JSON object.")
    try:
        read = orjson.loads(body)
        json.loads(body, object_pairs_hook=_object)
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            f"The body must be JSON in UTF-8, and is not, or is nested too deeply (line {error.lineno}, "
            f"column {error.colno})."
        ) from None
    except RecursionError:
        raise BadRequest("The JSON in the body is nested too deeply.") from None
    except _RepeatedNameError:
        raise BadRequest("An object in the body holds a name twice. Send each name once.") from None
    return read


class _RepeatedNameError(ValueError):
    """An object holds a name twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedNameError
    return found
