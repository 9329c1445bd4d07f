"""gunicorn's gevent worker with bounds for slow clients, and problem documents for what is no HTTP request.

A connection is a greenlet: one that waits, for its client or for the provider, holds up no other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

import gevent
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from runtime.refusal_log import RefusalLog

BODY_SECONDS: Final = 30.0
"""Seconds for a request's body, from the first read to the last byte."""

_REFUSAL_SECONDS: Final = 5.0
"""Seconds within which a client must take the answer to what is no request."""


class _Refusal(NamedTuple):
    status: int
    code: str
    title: str
    detail: str


_MALFORMED_HEADER: Final = _Refusal(
    400,
    "bad_request",
    "Bad Request",
    "A header is malformed, or is given more than once where only one may be.",
)
_REFUSALS: Final[Mapping[type[Exception], _Refusal]] = {
    errors.LimitRequestLine: _Refusal(
        414,
        "uri_too_long",
        "URI Too Long",
        "The path with its query is too long: the first line of a request may have 4094 bytes.",
    ),
    errors.LimitRequestHeaders: _Refusal(
        431,
        "request_header_fields_too_large",
        "Request Header Fields Too Large",
        "There are too many headers, or one is too long: 100 of 8190 bytes each may be sent.",
    ),
    errors.ExpectationFailed: _Refusal(
        417, "expectation_failed", "Expectation Failed", "`Expect` can only be 100-continue."
    ),
    errors.InvalidRequestMethod: _Refusal(
        400, "bad_request", "Bad Request", "There is no such method. Methods are written in capitals."
    ),
    errors.InvalidHeader: _MALFORMED_HEADER,
    errors.InvalidHeaderName: _MALFORMED_HEADER,
    errors.ObsoleteFolding: _MALFORMED_HEADER,
    errors.UnsupportedTransferCoding: _Refusal(
        501, "not_implemented", "Not Implemented", "`Transfer-Encoding` can only be chunked."
    ),
    errors.InvalidChunkSize: _Refusal(400, "bad_request", "Bad Request", "The body has malformed chunks."),
    errors.ParseException: _Refusal(
        400,
        "bad_request",
        "Bad Request",
        "This is not an HTTP/1.1 request. Its first line reads METHOD PATH HTTP/1.1; what is not ASCII in "
        "the path is percent-encoded.",
    ),
}
"""gunicorn's reasons to pass nothing on to the app. The first of an error's classes that is here counts."""

_OWN_ERRORS: Final = (
    errors.ConfigurationProblem,
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
)


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn is not typed
    """Adds to gunicorn's worker a time limit for bodies, and a stop that does not wait for idle connections.

    Without the second, one keep-alive connection holds up every stop for the whole of `graceful_timeout`.
    What cannot be passed on to the app is refused by a problem document instead of a page, and logged in one
    line a minute.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: set[_NextRequest] = set()
        self._refusals = RefusalLog("request refused")

    def timeout_ctx(self) -> _NextRequest:
        """Bounds the wait for a connection's next request, headers included, by `keepalive`."""
        return _NextRequest(self.cfg.keepalive if self.alive else 0, self._idle)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request whose headers have arrived."""
        req.body.reader = _TimedReader(req.body.reader)
        super().handle_request(listener_name, req, sock, addr)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what could not be read as a request; errors of our own are logged by gunicorn."""
        if isinstance(exc, _OWN_ERRORS) or not isinstance(exc, errors.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self._refusals.note(type(exc).__name__)
        refusal = next(_REFUSALS[kind] for kind in type(exc).__mro__ if kind in _REFUSALS)
        with gevent.Timeout(_REFUSAL_SECONDS, False), suppress(OSError):
            client.sendall(_answer(refusal))

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: finish the requests that have begun, then exit."""
        super().handle_exit(sig, frame)
        gevent.get_hub().loop.run_callback(self._end_idle)

    def _end_idle(self) -> None:
        """Runs in the hub, as every timer does, so no connection leaves the set meanwhile."""
        for idle in list(self._idle):
            idle.end()


def _answer(refusal: _Refusal) -> bytes:
    """The whole answer, after which the connection is closed."""
    body = json.dumps({"type": "about:blank", **refusal._asdict()}).encode()
    head = (
        f"HTTP/1.1 {refusal.status} {refusal.title}\r\nConnection: close\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _NextRequest(gevent.Timeout):  # type: ignore[misc]  # gevent is not typed
    """A bounded wait, which ends quietly when its time is over or when `end` is called."""

    def __init__(self, seconds: float, waiting: set[_NextRequest]) -> None:
        super().__init__(seconds, False)
        self._waiting = waiting
        self._greenlet: Any = None

    def start(self) -> None:
        super().start()
        self._greenlet = gevent.getcurrent()
        self._waiting.add(self)

    def close(self) -> None:
        super().close()
        self._waiting.discard(self)

    def end(self) -> None:
        """End the wait now; to be called from the hub."""
        self._greenlet.throw(self)


class _Reader(Protocol):
    def read(self, size: int) -> bytes: ...


class _TimedReader:
    """Stands in for a body's reader: one time limit for the whole body, however often the client sends."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._until: float | None = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; raises `TimeoutError`."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + BODY_SECONDS
        with gevent.Timeout(max(self._until - now, 0), TimeoutError("The body did not arrive in time.")):
            return self._reader.read(size)
