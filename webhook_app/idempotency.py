"""Idempotency keys: a call repeated under the same key is carried out once and gets the same response."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

import orjson
from flask import Response, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import BadRequest

from domain.errors import NotFound, Refused, UnknownRole
from models import idempotency_key
from webhook_app import problems
from webhook_app.auth import caller
from webhook_app.context import app_context

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
"""Response header: this response was given before under the same key."""
MAX_LENGTH: Final = 255

_RETRY: Final = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.SERVICE_UNAVAILABLE})
"""Responses that ask the caller to repeat the call later."""
_RETRY_AFTER_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Result:
    """Status and JSON body of a writing call. `is_replay`: stored by an earlier call under the same key."""

    status: int
    body: dict[str, Any]
    is_replay: bool = False


Work = Callable[[Session], Result]
StillHolds = Callable[[Session, Result], bool]


def _always(_session: Session, _result: Result) -> bool:
    return True


def respond_once(
    work: Work,
    finish: Callable[[Result], Result] | None = None,
    *,
    still_holds: StillHolds = _always,
) -> Response:
    """Run `work` in one transaction, which also stores its result if the caller sent an Idempotency-Key.

    A repeated key gets the stored result, refusals included. A stored success for which `still_holds` is
    false is out of date: the work runs again.

    `finish` turns the first result into the final one outside any transaction, for instance after waiting
    for a purchase. The final result then replaces the first one under the key.
    """
    key = _key()
    with app_context().runtime.transaction() as session:
        first = _run(lambda: work(session)) if key is None else _run_once(session, key, work, still_holds)
    final = first if finish is None else finish(first)
    if key is not None and final is not first:
        with app_context().runtime.transaction() as session:
            _store(session, key, final, instead_of=first)
    return _response(replace(final, is_replay=first.is_replay))


def respond_after_call(call: Callable[[], Result]) -> Response:
    """Run `call`, which asks the provider, outside any transaction; then store its result under the key.

    For calls that may safely run twice: of two concurrent calls under one key both may run, and both get
    the result that was stored first. A result that asks the caller to retry is not stored, and neither is a
    problem whose `retry_helps` is true.
    """
    key = _key()
    if key is None:
        return _response(_run(call))
    with app_context().runtime.sessions() as session:  # never committed: it only reads
        stored = _stored(session, key)
    result = _run(call) if stored is None else stored
    if result.status in _RETRY or _may_succeed_later(result):
        return _response(result)
    with app_context().runtime.transaction() as session:
        return _response(_run_once(session, key, lambda _: result))


def _may_succeed_later(result: Result) -> bool:
    return result.status >= HTTPStatus.BAD_REQUEST and result.body.get("retry_helps") is True


def _response(result: Result) -> Response:
    is_problem = result.status >= HTTPStatus.BAD_REQUEST
    mimetype = "application/problem+json" if is_problem else "application/json"
    response = Response(_json(result.body), result.status, mimetype=mimetype)
    if result.is_replay:
        response.headers[REPLAYED] = "true"
    if result.status in _RETRY:
        response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response


def _run(work: Callable[[], Result]) -> Result:
    """The result of the work, or the refusal it raised. The ledger refuses before it writes anything."""
    try:
        return work()
    except (Refused, NotFound, UnknownRole) as error:
        problem = problems.of_error(error)
        return Result(problem["status"], problem)


def _run_once(session: Session, key: str, work: Work, still_holds: StillHolds = _always) -> Result:
    """The stored result if there is one that still holds; otherwise run the work and store its result."""
    stored = _stored(session, key)
    if stored is not None and (stored.status >= HTTPStatus.BAD_REQUEST or still_holds(session, stored)):
        return stored
    result = _run(lambda: work(session))
    _store(session, key, result)
    return result


def _store(session: Session, key: str, result: Result, *, instead_of: Result | None = None) -> None:
    """Store the result under the key. `instead_of`: only if that result is still the stored one."""
    body = orjson.loads(_json(result.body))
    replaced = None if instead_of is None else orjson.loads(_json(instead_of.body))
    idempotency_key.store(session, _scope(), key, result.status, body, instead_of=replaced)


def _stored(session: Session, key: str) -> Result | None:
    """The result stored under the key; None if the key is new, which reserves it for this transaction."""
    request_hash = hashlib.sha256(request.query_string + b"\n" + _normalised_body()).digest()
    stored = idempotency_key.begin(session, _scope(), key, request_hash)
    return None if stored is None else Result(stored.status, stored.body, is_replay=True)


def _normalised_body() -> bytes:
    """The body; JSON is serialised anew, so that whitespace and the order of names make no difference."""
    body = request.get_data()
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        return body


def _scope() -> str:
    return f"{caller().actor} {request.method} {request.path}"


def _json(body: dict[str, Any]) -> bytes:
    """Names are sorted, because the database does not preserve their order: a replay has the same bytes."""
    return orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS)


def _key() -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= MAX_LENGTH and key.isascii() and key.isprintable()):
        raise BadRequest(f"{HEADER} must be 1 to {MAX_LENGTH} visible ASCII characters.")
    return key
