"""The only place where errors become HTTP responses: RFC 9457 problem documents with a stable `code`."""

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
    Contended,
    ForeignDatabase,
    IdempotencyKeyReused,
    NotFound,
    PoolerMisused,
    Refused,
    SeatSyncError,
    UnknownRole,
    UnknownSeatType,
    UnsafeUrl,
)
from domain.findings import Uncountable
from domain.provider_errors import (
    CartRefused,
    ChangeRefused,
    CustomerNotAtProvider,
    InvalidSignature,
    PermanentError,
    SubscriptionNotAtProvider,
    TransientError,
)
from webhook_app.request_body import MAX_BYTES

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
    PoolerMisused: HTTPStatus.SERVICE_UNAVAILABLE,
    Uncountable: HTTPStatus.CONFLICT,
    ChangeRefused: HTTPStatus.CONFLICT,
    CartRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    SubscriptionNotAtProvider: HTTPStatus.CONFLICT,
    CustomerNotAtProvider: HTTPStatus.CONFLICT,
    PermanentError: HTTPStatus.BAD_GATEWAY,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}
# The database is unreachable or restarting, or another session holds a lock for too long: a retry helps.
_TEMPORARY: Final = (OperationalError, InterfaceError, PoolTimeout)

_DETAILS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "The request could not be read.",
    HTTPStatus.NOT_FOUND: "There is nothing at this path. /openapi.json lists all paths. Percent-encode the "
    "ids in them; a slash inside an id is %2F.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not support the method. It supports: {methods}.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body is too large. The limit is {MAX_BYTES} bytes.",
}
# The names that Python gives these statuses differ from version to version.
_CODES: Final[Mapping[int, str]] = {413: "request_entity_too_large", 422: "unprocessable_entity"}
_TITLES: Final[Mapping[int, str]] = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}


class Problem(BaseModel):
    """An RFC 9457 problem document. Further fields hold the numbers behind a refusal."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="always about:blank; `code` identifies the problem")
    title: str
    status: int
    code: str = Field(description="stable and machine-readable")
    detail: str
    retry_helps: bool | None = Field(
        None,
        description="whether the same request may succeed later without any other change; always present in "
        "problems of the seat change calls",
    )


def document(
    status: int, code: str, detail: str, further: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """The problem document as a dictionary. `further` fields are added; they never replace standard ones."""
    standard: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    return {**standard, **(further or {}), **standard}


def response(
    status: int,
    code: str,
    detail: str,
    further: Mapping[str, object] | None = None,
    *,
    wait: float | None = None,
) -> Response:
    """The problem document as a response. A 503 gets a Retry-After of `wait` seconds, at least 1."""
    problem = Response(
        orjson.dumps(document(status, code, detail, further)),
        status=status,
        mimetype="application/problem+json",
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        problem.headers["Retry-After"] = str(max(1, math.ceil(wait or 0)))
    return problem


def not_found() -> Response:
    """The response for a path without a route."""
    return response(HTTPStatus.NOT_FOUND, "not_found", _DETAILS[HTTPStatus.NOT_FOUND])


def of_error(error: SeatSyncError) -> dict[str, Any]:
    """The problem document of an error of this service."""
    status = next((found for kind in type(error).__mro__ if (found := _STATUS.get(kind))), None)
    return document(status or HTTPStatus.INTERNAL_SERVER_ERROR, error.code, error.message, error.details)


def _own_error(error: SeatSyncError) -> Response:
    problem = of_error(error)
    if problem["status"] == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(error)
    wait = error.retry_after if isinstance(error, TransientError) else None
    return response(problem["status"], error.code, error.message, error.details, wait=wait)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request: the place and the problem. Never contains the value itself."""

    where: str
    problem: str


def invalid(faults: Sequence[Fault]) -> Response:
    """The response to a request whose path, query or body is invalid."""
    detail = "; ".join(f"{fault.where}: {fault.problem}" for fault in faults)
    further = {"errors": [asdict(fault) for fault in faults]}
    return response(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail, further)


def _http_error(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    allowed = sorted(getattr(error, "valid_methods", None) or ())
    # The default text of werkzeug is replaced; a text that one of our views gave is kept.
    if error.description == type(error).description:
        detail = _DETAILS.get(status, status.phrase).format(methods=", ".join(allowed))
    else:
        detail = error.description or status.phrase
    problem = response(status, _CODES.get(status) or status.name.lower(), detail)
    if allowed:
        problem.headers["Allow"] = ", ".join(allowed)
    return problem


def _database_error(error: SQLAlchemyError) -> Response:
    # The text of a database error may contain parameters, and so personal data: only its type is logged.
    kind = type(error).__name__
    if not isinstance(error, _TEMPORARY):
        return _unexpected(RuntimeError(f"{kind} (text withheld)").with_traceback(error.__traceback__))
    log.error("database unavailable", extra={"error": kind})
    return response(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database_unavailable",
        "The database did not answer in time. Try again; with the same Idempotency-Key the call is carried "
        "out only once.",
    )


def _unexpected(error: Exception) -> Response:
    log.error("unexpected error", extra={"error": type(error).__name__}, exc_info=error)
    return response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "An unexpected error occurred and was logged. Tell the operator of the service if it happens again.",
    )


def install(app: Flask) -> None:
    """Register the error handlers."""
    app.register_error_handler(SeatSyncError, _own_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(SQLAlchemyError, _database_error)
    app.register_error_handler(Exception, _unexpected)
