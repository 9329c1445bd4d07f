"""Checks of every request to the provider's API: API key, rate limits, faults, and the request log."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from flask import Flask, Response, g, request

from simulator.http.faults import Faults
from simulator.http.responses import refuse
from simulator.rate_limit import headers
from simulator.refusal import Refusal
from simulator.request_log import Request, Write
from simulator.world import World

CONTROL = "/_control"
RETRIABLE = frozenset({429, 500, 503})
READING = frozenset({"GET", "HEAD"})


class Gate:
    """Runs before and after each request to the provider's API. The control API is not checked."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    def guard(self, app: Flask) -> None:
        app.before_request(self.enter)
        app.after_request(self.leave)

    def enter(self) -> Response | None:
        if _is_control():
            return None
        g.started, g.fault = time.monotonic(), None
        knobs = self._world.board.now
        is_known = request.headers.get("Authorization") == f"Bearer {self._world.settings.api_key}"
        caller = "key" if is_known else f"address {request.remote_addr}"
        windows = knobs.rate_limits if is_known else knobs.unauthenticated_rate_limits
        g.allowance = self._world.limiter.admit(caller, windows)
        if g.allowance and not g.allowance.is_admitted:
            return refuse(Refusal(429, "TOO_MANY_REQUESTS", ""))
        if not is_known:
            return refuse(Refusal(401, "UNAUTHORIZED", "The API key is missing or wrong"))
        if knobs.key_is_read_only and request.method not in READING:
            return refuse(Refusal(401, "UNAUTHORIZED", "The API key has no write access"))
        if fault := self._faults.instead(knobs, _route()):
            answer, g.fault = fault
            return answer
        return None

    def leave(self, answer: Response) -> Response:
        if _is_control():
            return answer
        if request.method not in READING:
            write = Write(
                route=_route(), path=request.path, status=answer.status_code, body=request.get_data()
            )
            self._world.requests.note(write)
        knobs = self._world.board.now
        if g.allowance:
            answer.headers.update(headers(g.allowance, knobs.rate_limit_reset))
        if knobs.retry_after is not None and answer.status_code in RETRIABLE:
            answer.headers["Retry-After"] = knobs.retry_after
        answer, spoiled = self._faults.spoil(knobs, _route(), answer)
        self._world.requests.add(
            Request(
                method=request.method,
                path=request.path,
                query=request.query_string.decode("latin-1"),
                route=_route(),
                status=answer.status_code,
                fault=g.fault or spoiled,
                at=datetime.now(UTC),
                seconds=round(time.monotonic() - g.started, 6),
                caller=request.headers.get("User-Agent", ""),
            )
        )
        return answer


def _is_control() -> bool:
    return request.path.startswith(CONTROL)


def _route() -> str:
    """The method and the URL pattern, so that requests with different ids are counted together."""
    return f"{request.method} {request.url_rule.rule if request.url_rule else '(unknown)'}"
