"""gunicorn's gevent worker with time limits for slow clients, and problem documents for malformed requests.

Each connection has a greenlet, so one that waits for its client or for the provider does not block the
others.
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
"""The longest that a request's body may take, from the first read to the last byte."""

_REFUSAL_SECONDS: Final = 5.0
"""The longest that a client may take to receive the response to a malformed request."""


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
"""Responses to requests that gunicorn does not pass to the app, by its error; the most specific class counts.
"""

_OWN_ERRORS: Final = (
    errors.ConfigurationProblem,
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
)


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn is not typed
    """gunicorn's worker with three additions.

    Bodies have a time limit. A stop does not wait for idle keep-alive connections, which would delay it for
    all of `graceful_timeout`. Malformed requests get a problem document instead of an HTML page, and are
    logged at a bounded rate.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: set[_NextRequest] = set()
        self._refusals = RefusalLog("request refused")

    def timeout_ctx(self) -> _NextRequest:
        """The time limit for the next request of a connection, headers included: `keepalive`."""
        return _NextRequest(self.cfg.keepalive if self.alive else 0, self._idle)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Handle a request whose headers have arrived."""
        req.body.reader = _TimedReader(req.body.reader)
        super().handle_request(listener_name, req, sock, addr)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Respond to a request that could not be parsed. Other errors are left to gunicorn."""
        if isinstance(exc, _OWN_ERRORS) or not isinstance(exc, errors.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self._refusals.note(type(exc).__name__)
        refusal = next(_REFUSALS[kind] for kind in type(exc).__mro__ if kind in _REFUSALS)
        with gevent.Timeout(_REFUSAL_SECONDS, False), suppress(OSError):
            client.sendall(_response(refusal))

    def handle_exit(self, sig: int, frame: Any) -> None:
        """On SIGTERM, finish the requests that have begun, then exit."""
        super().handle_exit(sig, frame)
        gevent.get_hub().loop.run_callback(self._end_idle)

    def _end_idle(self) -> None:
        """Runs in the hub, so no greenlet can change the set meanwhile."""
        for idle in list(self._idle):
            idle.end()


def _response(refusal: _Refusal) -> bytes:
    """The complete response; the connection is closed after it."""
    body = json.dumps({"type": "about:blank", **refusal._asdict()}).encode()
    head = (
        f"HTTP/1.1 {refusal.status} {refusal.title}\r\nConnection: close\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _NextRequest(gevent.Timeout):  # type: ignore[misc]  # gevent is not typed
    """A wait with a time limit, which ends without an error after that time or when `end` is called."""

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
        """End the wait now. Must be called from the hub."""
        self._greenlet.throw(self)


class _Reader(Protocol):
    def read(self, size: int) -> bytes: ...


class _TimedReader:
    """Wraps the reader of a body with one time limit for the whole body, however slowly its parts arrive."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._until: float | None = None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. Raises `TimeoutError` after the time limit."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + BODY_SECONDS
        with gevent.Timeout(max(self._until - now, 0), TimeoutError("The body did not arrive in time.")):
            return self._reader.read(size)
