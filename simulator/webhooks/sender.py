"""A keep-alive connection to the receiver, which another thread can abort."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlsplit


class Sender:
    """Sends bodies, one at a time. A connection that was closed while idle is opened again."""

    def __init__(self) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._host: str | None = None
        self._is_cut = False

    def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> int:
        """Send a POST request and return the status of the response.

        Raises `OSError` or `HTTPException` if there is none. `timeout`, in seconds, covers connecting and
        reading.
        """
        ends = time.monotonic() + timeout
        place = urlsplit(url)
        try:
            connection = self._connected(place.netloc, timeout)
            target = f"{place.path or '/'}?{place.query}" if place.query else place.path or "/"
            connection.request("POST", target, body, dict(headers))
            connection.sock.settimeout(max(ends - time.monotonic(), 0.001))
            response = connection.getresponse()
            response.read()
        except BaseException:
            self.close()
            raise
        return response.status

    def cut(self) -> None:
        """Abort a request in progress in another thread."""
        self._is_cut = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self, host: str, timeout: float) -> http.client.HTTPConnection:
        if self._connection is None or self._host != host or _is_stale(self._connection):
            self.close()
            self._connection, self._host = http.client.HTTPConnection(host), host
        connection = self._connection
        connection.timeout = timeout
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(timeout)
        if self._is_cut:
            raise ConnectionAbortedError("the simulator is stopping")
        return connection


def _is_stale(connection: http.client.HTTPConnection) -> bool:
    """Whether the receiver closed the idle connection: only then is there anything to read on it."""
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
