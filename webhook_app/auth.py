"""Who may call what: bearer keys with scopes, checked before anything else of a request is read."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeVar, cast

from flask import Response, g, request

from models import api_key
from models.api_key import Caller, Scope
from runtime.wiring import Runtime
from webhook_app import problems

View = TypeVar("View", bound=Callable[..., object])

# A revoked key works for so many seconds more; looking each one up again costs a trip to the database.
_REMEMBERED: Final = 5.0
_MOST_REMEMBERED: Final = 1_000
_BOOTSTRAP: Final = Caller("key:bootstrap", frozenset(Scope))
_NEEDS: Final = "needed_scope"


def needs(scope: Scope) -> Callable[[View], View]:
    """The view is for callers whose key has this scope."""

    def mark(view: View) -> View:
        setattr(view, _NEEDS, scope)
        return view

    return mark


def public(view: View) -> View:
    """The view is for anybody."""
    setattr(view, _NEEDS, None)
    return view


def needed_scope(view: Callable[..., object]) -> Scope | None:
    """What a key must have to call the view; None for public ones. Raises where the view does not say."""
    return cast("Scope | None", getattr(view, _NEEDS))


def caller() -> Caller:
    """Who makes the present request."""
    found: Caller = g.caller
    return found


class ApiKeyAuth:
    """Checks the key of each request and remembers good ones for a few seconds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[bytes, tuple[Caller, float]] = {}

    def refusal(self, scope: Scope) -> Response | None:
        """Why the present request may not pass; None lets it, and `caller` knows who makes it."""
        found = self._find(request.environ.get("HTTP_AUTHORIZATION", ""))
        if found is None:
            answer = problems.response(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "Send a valid API key as `Authorization: Bearer KEY`. `seatsync keys create` makes one.",
            )
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        if scope not in found.scopes:
            return problems.response(
                HTTPStatus.FORBIDDEN,
                "missing_scope",
                f"This call needs a key with the scope `{scope.value}`.",
                {"needed_scope": scope.value},
            )
        g.caller = found
        return None

    def _find(self, header: str) -> Caller | None:
        kind, _, presented = header.partition(" ")
        presented = presented.strip()
        if kind.lower() != "bearer" or not presented:
            return None
        # WSGI hands over each byte of a header as one character.
        digest = hashlib.sha256(presented.encode("latin-1", "replace")).digest()
        remembered = self._known.get(digest)
        if remembered is not None and remembered[1] > time.monotonic():
            return remembered[0]
        found = self._ask(presented, digest)
        if found is not None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[digest] = (found, time.monotonic() + _REMEMBERED)
        return found

    def _ask(self, presented: str, digest: bytes) -> Caller | None:
        bootstrap = self._runtime.settings.bootstrap_key
        if bootstrap is not None:
            expected = hashlib.sha256(bootstrap.get_secret_value().encode()).digest()
            if hmac.compare_digest(expected, digest):
                return _BOOTSTRAP
        with self._runtime.sessions() as session:
            return api_key.find(session, presented)
