"""One kept-alive connection to the receiver, which another thread can cut."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlsplit


class Sender:
    """Posts bodies, one at a time; a connection that went stale while idle is simply opened anew."""

    def __init__(self) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._host: str | None = None
        self._is_cut = False

    def post(self, url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> int:
        """The status of the answer; OSError or HTTPException when there is none.

        Connecting and reading share one time limit.
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
        """Make a post that is under way in another thread fail at once."""
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
    """An idle connection has nothing to say, so one that is readable was closed from the other side."""
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
