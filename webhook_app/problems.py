"""Errors become RFC 9457 problem documents here and nowhere else; `code` is stable."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from domain.errors import (
    CartRefused,
    ChangeRefused,
    Contended,
    ForeignDatabase,
    IdempotencyKeyReused,
    InvalidSignature,
    NotFound,
    PermanentError,
    Refused,
    SeatSyncError,
    SubscriptionNotAtProvider,
    TransientError,
    UnknownRole,
    UnknownSeatType,
    UnsafeUrl,
)
from domain.findings import Uncountable
from webhook_app.request_body import MOST_BYTES

log = logging.getLogger(__name__)

_STATUS: Final[Mapping[type[SeatSyncError], HTTPStatus]] = {
    InvalidSignature: HTTPStatus.UNAUTHORIZED,
    NotFound: HTTPStatus.NOT_FOUND,
    Refused: HTTPStatus.CONFLICT,
    UnknownRole: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownSeatType: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnsafeUrl: HTTPStatus.UNPROCESSABLE_ENTITY,
    IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    Contended: HTTPStatus.SERVICE_UNAVAILABLE,
    ForeignDatabase: HTTPStatus.SERVICE_UNAVAILABLE,
    Uncountable: HTTPStatus.CONFLICT,
    ChangeRefused: HTTPStatus.CONFLICT,
    CartRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    SubscriptionNotAtProvider: HTTPStatus.CONFLICT,
    PermanentError: HTTPStatus.BAD_GATEWAY,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}
# The database is away, restarting, or somebody else holds a lock for too long: trying again helps.
_PASSING: Final = (OperationalError, InterfaceError, PoolTimeout)

_DETAILS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "The request could not be read.",
    HTTPStatus.NOT_FOUND: "There is nothing at this path. /openapi.json lists all paths; ids in them are "
    "percent-encoded, a slash as %2F.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This cannot be done at this path. What can be done here: {methods}.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body is too large: {MOST_BYTES} bytes may be sent.",
}
# The names that Python gives these statuses differ from version to version.
_CODES: Final[Mapping[int, str]] = {413: "request_entity_too_large", 422: "unprocessable_entity"}
_TITLES: Final[Mapping[int, str]] = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}


class Problem(BaseModel):
    """An RFC 9457 problem document. Further fields hold the numbers behind a refusal."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="always about:blank: `code` tells problems apart")
    title: str
    status: int
    code: str = Field(description="stable and machine-readable")
    detail: str
    retry_helps: bool | None = Field(
        None,
        description="always said where seats are changed: whether the same wish may be granted later without "
        "anybody doing anything",
    )


def document(
    status: int, code: str, detail: str, further: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """The problem document as data; what is `further` cannot take the place of the standard members."""
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    return {**told, **(further or {}), **told}


def response(
    status: int,
    code: str,
    detail: str,
    further: Mapping[str, object] | None = None,
    *,
    wait: float | None = None,
) -> Response:
    """The problem document as an answer; a 503 says after how many seconds to ask again, one at least."""
    answer = Response(
        orjson.dumps(document(status, code, detail, further)),
        status=status,
        mimetype="application/problem+json",
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = str(max(1, math.ceil(wait or 0)))
    return answer


def not_found() -> Response:
    """The answer where no route leads."""
    return response(HTTPStatus.NOT_FOUND, "not_found", _DETAILS[HTTPStatus.NOT_FOUND])


def of_error(error: SeatSyncError) -> dict[str, Any]:
    """The problem document of one of our own errors."""
    status = next((found for kind in type(error).__mro__ if (found := _STATUS.get(kind))), None)
    return document(status or HTTPStatus.INTERNAL_SERVER_ERROR, error.code, error.message, error.details)


def _own(error: SeatSyncError) -> Response:
    told = of_error(error)
    if told["status"] == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(error)
    wait = error.retry_after if isinstance(error, TransientError) else None
    return response(told["status"], error.code, error.message, error.details, wait=wait)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: where, and what is wrong there. Never the value itself."""

    where: str
    problem: str


def invalid(found: Sequence[Fault]) -> Response:
    """A request whose path, query or body is not what the API takes."""
    detail = "; ".join(f"{fault.where}: {fault.problem}" for fault in found)
    further = {"errors": [asdict(fault) for fault in found]}
    return response(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail, further)


def _http(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    allowed = sorted(getattr(error, "valid_methods", None) or ())
    # The library's own words know nothing of this API; those of our views differ from them.
    if error.description == type(error).description:
        detail = _DETAILS.get(status, status.phrase).format(methods=", ".join(allowed))
    else:
        detail = error.description or status.phrase
    answer = response(status, _CODES.get(status) or status.name.lower(), detail)
    if allowed:
        answer.headers["Allow"] = ", ".join(allowed)
    return answer


def _database(error: SQLAlchemyError) -> Response:
    # The text of a database error may hold parameters, and so personal data: its type and place must do.
    kind = type(error).__name__
    if not isinstance(error, _PASSING):
        return _unexpected(RuntimeError(f"{kind}, its text withheld").with_traceback(error.__traceback__))
    log.error("database unavailable", extra={"error": kind})
    return response(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database_unavailable",
        "The database did not answer in time. Try again: under one Idempotency-Key nothing is done twice.",
    )


def _unexpected(error: Exception) -> Response:
    log.error("unexpected error", extra={"error": type(error).__name__}, exc_info=error)
    return response(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong here; it was logged."
    )


def install(app: Flask) -> None:
    """Give the app its error handlers."""
    app.register_error_handler(SeatSyncError, _own)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(SQLAlchemyError, _database)
    app.register_error_handler(Exception, _unexpected)
