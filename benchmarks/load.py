"""The load generator: a separate process that keeps connections busy with prepared requests.

Each caller sends its next request as soon as it has the last response, so the server is always as busy as
that many callers can make it. The result says how much of its core the client used: near 100 %, the client
and not the server was the limit.
"""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

CALLERS = 32
# Callers reconnect after this many requests. Connections are spread over the server's processes by chance;
# a process that got most of them for a whole round would decide the result.
_REQUESTS_PER_CONNECTION = 25
_LENGTH = b"content-length: "
_END = b"\r\n\r\n"
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one round; `busy` is the share of one core that the client used, 0 to 1."""

    responses: int
    seconds: float
    busy: float

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.responses / self.seconds


class UnexpectedResponse(Exception):
    """A response had another status than expected, so the round is not valid."""


def drive(port: int, requests: Sequence[bytes], *, seconds: float, expected: int) -> Load:
    """Send the requests until all are sent or `seconds` have passed.

    Raises UnexpectedResponse if a response does not have the expected status.
    """
    here, there = _SPAWN.Pipe()
    client = _SPAWN.Process(target=_client, args=[there, port, requests, seconds, expected], daemon=True)
    client.start()
    there.close()
    try:
        result: Load | str = here.recv()
    finally:
        client.join()
    if isinstance(result, str):
        raise UnexpectedResponse(result)
    return result


_SPAWN = multiprocessing.get_context("spawn")


def _client(pipe: Connection, port: int, requests: Sequence[bytes], seconds: float, expected: int) -> None:
    try:
        pipe.send(_drive(port, requests, seconds, expected))
    except (UnexpectedResponse, OSError) as error:
        pipe.send(f"{type(error).__name__}: {error}")


def _drive(port: int, requests: Sequence[bytes], seconds: float, expected: int) -> Load:
    waiting = iter(requests)
    with selectors.DefaultSelector() as selector:
        callers = [Caller(port, expected) for _ in range(min(CALLERS, len(requests)))]
        for caller in callers:
            caller.connect(selector)
        began, began_cpu = time.perf_counter(), time.process_time()
        busy = sum(caller.send(waiting) for caller in callers)
        responses = 0
        while busy and (left := began + seconds - time.perf_counter()) > 0:
            for key, _ in selector.select(left):
                caller = key.data
                if caller.receive():
                    responses += 1
                    caller.renew(selector)
                    busy -= not caller.send(waiting)
        elapsed, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
        for caller in callers:
            caller.close()
    return Load(responses, elapsed, cpu_seconds / elapsed)


class Caller:
    """One keep-alive connection at a time."""

    def __init__(self, port: int, expected: int) -> None:
        self._port = port
        self._expected = b"HTTP/1.1 %d" % expected
        self._received = b""
        self._responses = 0
        self._is_waiting = False

    def connect(self, selector: selectors.BaseSelector) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(self._socket, selectors.EVENT_READ, self)

    def renew(self, selector: selectors.BaseSelector) -> None:
        """Reconnect after `_REQUESTS_PER_CONNECTION` responses."""
        if self._responses % _REQUESTS_PER_CONNECTION == 0:
            selector.unregister(self._socket)
            self._socket.close()
            self.connect(selector)

    def send(self, waiting: Iterator[bytes]) -> bool:
        """Send the next request; False if there is none left."""
        request = next(waiting, None)
        if request is None:
            return False
        self._socket.sendall(request)
        self._is_waiting = True
        return True

    def receive(self) -> bool:
        """Read the bytes that have arrived; True once the response is complete."""
        received = self._socket.recv(65536)
        if not received:
            raise UnexpectedResponse("the server closed a connection")
        self._received += received
        if not is_complete(self._received):
            return False
        if not self._received.startswith(self._expected):
            raise UnexpectedResponse(self._received[:300].decode(errors="replace"))
        self._received, self._is_waiting = b"", False
        self._responses += 1
        return True

    def close(self) -> None:
        """Wait for an outstanding response, so that the server is idle when the next round starts; close."""
        while self._is_waiting:
            self.receive()
        self._socket.close()


def is_complete(response: bytes) -> bool:
    """True if the headers and the whole body, by its Content-Length, have arrived."""
    head, end, body = response.partition(_END)
    if not end:
        return False
    at = head.lower().find(_LENGTH)
    return at < 0 or len(body) >= int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
