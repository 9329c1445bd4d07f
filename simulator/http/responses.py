"""Flask responses in the provider's formats."""

from __future__ import annotations

from flask import Response

from simulator.json_text import encode
from simulator.refusal import Refusal


def answer(value: object, status: int = 200) -> Response:
    return Response(encode(value), status, mimetype="application/json")


def nothing() -> Response:
    """A 204 without a content type."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def refuse(refusal: Refusal) -> Response:
    return answer({"code": refusal.code, "message": refusal.message}, refusal.status)
