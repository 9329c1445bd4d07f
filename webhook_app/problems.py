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

from seats.errors import (
    CartRefused,
    ChangeRefused,
    Contended,
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
from seats.findings import Uncountable

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
    Uncountable: HTTPStatus.CONFLICT,
    ChangeRefused: HTTPStatus.CONFLICT,
    CartRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    SubscriptionNotAtProvider: HTTPStatus.CONFLICT,
    PermanentError: HTTPStatus.BAD_GATEWAY,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
}
# The database is away, restarting, or somebody else holds a lock for too long: trying again helps.
_PASSING: Final = (OperationalError, InterfaceError, PoolTimeout)


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
        "title": HTTPStatus(status).phrase,
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
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    code = HTTPStatus(status).name.lower()
    answer = response(status, code, error.description or HTTPStatus(status).phrase)
    for name, value in error.get_headers():
        if name == "Allow":
            answer.headers[name] = value
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
