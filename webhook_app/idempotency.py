"""Writing calls under an `Idempotency-Key`: the same wish is granted once and answered alike."""

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
"""The header of an answer that was given before under the same key."""
MAX_LENGTH: Final = 255

_ASK_AGAIN: Final = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.SERVICE_UNAVAILABLE})
_ASK_AGAIN_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What a writing call has to say. `is_replay`: it was given before under the same key."""

    status: int
    body: dict[str, Any]
    is_replay: bool = False


def _always(_session: Session, _answer: Result) -> bool:
    return True


def respond_once(
    work: Callable[[Session], Result],
    conclude: Callable[[Result], Result] | None = None,
    *,
    still_holds: Callable[[Session, Result], bool] = _always,
) -> Response:
    """Do the work in one transaction, with its answer kept beside it if the caller sent a key.

    A kept success is replayed only as long as it `still_holds`; otherwise the work is done again.

    Refusals are answers too: the same key gets the same refusal, a new key a new look. Work whose outcome
    only the outside decides is answered twice: `conclude` finds out, outside of any transaction, what has
    become of it, and that is kept instead.
    """
    key = _key()
    with app_context().runtime.transaction() as session:
        first = _answer(session, work) if key is None else _kept_answer(session, key, work, still_holds)
    answer = first if conclude is None else conclude(first)
    if key is not None and answer is not first:
        with app_context().runtime.transaction() as session:
            before = orjson.loads(_dumped(first.body))
            _keep(session, key, answer, instead_of=before)
    return _response(replace(answer, is_replay=first.is_replay))


def respond_after_call(ask: Callable[[], Result]) -> Response:
    """Call the provider outside any transaction, then store the answer if the caller sent a key.

    For work that may be done twice: concurrent calls under one key may both run, and the first stored answer
    is the answer to both. An answer that means "ask again" is not stored.
    """
    key = _key()
    if key is None:
        return _response(_told(ask))
    with app_context().runtime.sessions() as session:  # never committed: it only reads
        before = _begin(session, key)
    answer = _told(ask) if before is None else before
    if answer.status in _ASK_AGAIN:
        return _response(answer)
    with app_context().runtime.transaction() as session:
        return _response(_kept_answer(session, key, lambda _: answer))


def _response(answer: Result) -> Response:
    is_problem = answer.status >= HTTPStatus.BAD_REQUEST
    mimetype = "application/problem+json" if is_problem else "application/json"
    response = Response(_dumped(answer.body), answer.status, mimetype=mimetype)
    if answer.is_replay:
        response.headers[REPLAYED] = "true"
    if answer.status in _ASK_AGAIN:
        response.headers["Retry-After"] = str(_ASK_AGAIN_SECONDS)
    return response


def _answer(session: Session, work: Callable[[Session], Result]) -> Result:
    return _told(lambda: work(session))


def _told(work: Callable[[], Result]) -> Result:
    """The work's answer, or the refusal it raised; the ledger raises before it writes."""
    try:
        return work()
    except (Refused, NotFound, UnknownRole) as error:
        told = problems.of_error(error)
        return Result(told["status"], told)


def _kept_answer(
    session: Session,
    key: str,
    work: Callable[[Session], Result],
    still_holds: Callable[[Session, Result], bool] = _always,
) -> Result:
    before = _begin(session, key)
    if before is not None and (before.status >= HTTPStatus.BAD_REQUEST or still_holds(session, before)):
        return before
    answer = _answer(session, work)
    _keep(session, key, answer)
    return answer


def _keep(session: Session, key: str, answer: Result, *, instead_of: dict[str, Any] | None = None) -> None:
    body = orjson.loads(_dumped(answer.body))
    idempotency_key.store(session, _scope(), key, answer.status, body, instead_of=instead_of)


def _begin(session: Session, key: str) -> Result | None:
    """The answer that was kept under the key, if there is one."""
    wish = hashlib.sha256(request.query_string + b"\n" + _body_without_spelling()).digest()
    before = idempotency_key.begin(session, _scope(), key, wish)
    return None if before is None else Result(before.status, before.body, is_replay=True)


def _body_without_spelling() -> bytes:
    """The body, in one spelling if it is JSON: blanks and the order of names make no other request."""
    body = request.get_data()
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        return body


def _scope() -> str:
    return f"{caller().actor} {request.method} {request.path}"


def _dumped(body: dict[str, Any]) -> bytes:
    """The same bytes for the first answer and for one that was kept: the database does not keep the order."""
    return orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS)


def _key() -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= MAX_LENGTH and key.isascii() and key.isprintable()):
        raise BadRequest(f"{HEADER} must be 1 to {MAX_LENGTH} visible ASCII characters.")
    return key
