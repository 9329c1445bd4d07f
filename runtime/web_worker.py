"""gunicorn's gevent worker with bounds for slow clients. A connection is a greenlet: one that waits, for its
client or for the provider, holds up no other.
"""

from __future__ import annotations

import time
from typing import Any, Final, Protocol

import gevent
from gunicorn.workers.ggevent import GeventWorker

BODY_SECONDS: Final = 30.0
"""Seconds for a request's body, from the first read to the last byte."""


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn is not typed
    """Adds to gunicorn's worker a time limit for bodies, and a stop that does not wait for idle connections.

    Without the second, one keep-alive connection holds up every stop for the whole of `graceful_timeout`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: set[_NextRequest] = set()

    def timeout_ctx(self) -> _NextRequest:
        """Bounds the wait for a connection's next request, headers included, by `keepalive`."""
        return _NextRequest(self.cfg.keepalive if self.alive else 0, self._idle)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request whose headers have arrived."""
        req.body.reader = _TimedReader(req.body.reader)
        super().handle_request(listener_name, req, sock, addr)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: finish the requests that have begun, then exit."""
        super().handle_exit(sig, frame)
        gevent.get_hub().loop.run_callback(self._end_idle)

    def _end_idle(self) -> None:
        """Runs in the hub, as every timer does, so no connection leaves the set meanwhile."""
        for idle in list(self._idle):
            idle.end()


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
