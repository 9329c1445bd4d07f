"""Authentication and authorisation: bearer API keys with scopes, checked before a request is read."""

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

# Valid keys are cached to save a database query per request. A revoked key works until its entry expires.
_CACHE_SECONDS: Final = 5.0
_MAX_CACHED_KEYS: Final = 1_000
_BOOTSTRAP: Final = Caller("key:bootstrap", frozenset(Scope))
_SCOPE_ATTRIBUTE: Final = "needed_scope"


def needs(scope: Scope) -> Callable[[View], View]:
    """Decorator: the view requires an API key with this scope."""

    def mark(view: View) -> View:
        setattr(view, _SCOPE_ATTRIBUTE, scope)
        return view

    return mark


def public(view: View) -> View:
    """Decorator: the view needs no API key."""
    setattr(view, _SCOPE_ATTRIBUTE, None)
    return view


def needed_scope(view: Callable[..., object]) -> Scope | None:
    """The scope that the view requires; None if it is public. `AttributeError` if neither is declared."""
    return cast("Scope | None", getattr(view, _SCOPE_ATTRIBUTE))


def caller() -> Caller:
    """The authenticated caller of the current request."""
    authenticated: Caller = g.caller
    return authenticated


class ApiKeyAuth:
    """Checks the API key of each request. Valid keys are cached for a few seconds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._cache: dict[bytes, tuple[Caller, float]] = {}

    def refusal(self, scope: Scope) -> Response | None:
        """The response that refuses the current request; None if it is allowed, and then `caller` is set."""
        found = self._find(request.environ.get("HTTP_AUTHORIZATION", ""))
        if found is None:
            refused = problems.response(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "The API key is missing or invalid. Send a valid one as `Authorization: Bearer KEY`; "
                "`seatsync keys create` makes one.",
            )
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
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
        # WSGI passes each byte of a header as one character.
        digest = hashlib.sha256(presented.encode("latin-1", "replace")).digest()
        cached = self._cache.get(digest)
        if cached is not None and cached[1] > time.monotonic():
            return cached[0]
        found = self._look_up(presented, digest)
        if found is not None:
            if len(self._cache) >= _MAX_CACHED_KEYS:
                self._cache.clear()
            self._cache[digest] = (found, time.monotonic() + _CACHE_SECONDS)
        return found

    def _look_up(self, presented: str, digest: bytes) -> Caller | None:
        bootstrap = self._runtime.settings.bootstrap_key
        if bootstrap is not None:
            expected = hashlib.sha256(bootstrap.get_secret_value().encode()).digest()
            if hmac.compare_digest(expected, digest):
                return _BOOTSTRAP
        with self._runtime.sessions() as session:
            return api_key.find(session, presented)
