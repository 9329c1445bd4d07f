"""Who may call what: bearer keys with scopes, checked before anything else of a request is read."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeVar

from flask import Flask, Response, current_app, g, request

from models import api_key
from models.api_key import Caller, Scope
from webhook_app import problems
from webhook_app.door import door

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


def caller() -> Caller:
    """Who makes the present request."""
    found: Caller = g.caller
    return found


class Gatekeeper:
    """Checks the key of each request and remembers good ones for a few seconds."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Caller, float]] = {}

    def check(self) -> Response | None:
        """None lets the request pass; public views carry no mark."""
        view = current_app.view_functions.get(request.endpoint or "")
        scope: Scope | None = getattr(view, _NEEDS, None)
        if scope is None:
            return None
        found = self._find(request.headers.get("Authorization", ""))
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
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
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
        bootstrap = door().runtime.settings.bootstrap_key
        if bootstrap is not None:
            expected = hashlib.sha256(bootstrap.get_secret_value().encode()).digest()
            if hmac.compare_digest(expected, digest):
                return _BOOTSTRAP
        with door().runtime.sessions() as session:
            return api_key.find(session, presented)


def install(app: Flask) -> None:
    """Have every request of the app checked."""
    app.before_request(Gatekeeper().check)
