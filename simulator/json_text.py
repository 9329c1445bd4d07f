"""Converts values to and from JSON in the provider's format."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from simulator.refusal import Refusal

Wanted = TypeVar("Wanted")


def wire_time(moment: datetime) -> str:
    """RFC 3339 in UTC with six fractional digits, as seen in real traffic."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def encode(value: object) -> bytes:
    """The value as JSON. Dataclasses become objects, and times get the provider's format."""
    return orjson.dumps(value, default=_other, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _other(value: object) -> object:
    if isinstance(value, datetime):
        return wire_time(value)
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(type(value).__name__)


def parse_body(wanted: TypeAdapter[Wanted], body: bytes) -> Wanted:
    """The body as a value. Raises `Refusal` with 400 if it is not JSON, and with 422 if it is invalid."""
    try:
        return wanted.validate_json(body, strict=True)
    except ValidationError as error:
        status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
        raise Refusal(status, "INVALID_REQUEST_BODY", explain(error)) from error


def parse_query(wanted: TypeAdapter[Wanted], arguments: dict[str, str]) -> Wanted:
    """The query string as a value. Raises `Refusal` with 400 if it is invalid."""
    try:
        return wanted.validate_python(arguments)
    except ValidationError as error:
        raise Refusal(400, "INVALID_QUERY_PARAMS", explain(error)) from error


def explain(error: ValidationError) -> str:
    """The first error with its place, in one line."""
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
