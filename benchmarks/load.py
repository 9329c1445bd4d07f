"""The load: a process of its own that keeps connections busy with prepared requests, and nothing else.

Each caller sends its next request when it has the last answer, so the server is always as busy as that
many callers can make it. How much of its core a round took is told with the result, so that nobody takes
the client's limit for the server's.
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
# Then a caller connects anew: the server's processes share connections out by chance, and one that got
# most of them for a whole round would decide the result.
_REQUESTS_PER_CONNECTION = 25
_LENGTH = b"content-length: "
_END = b"\r\n\r\n"
_SILENCE = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """What one round came to; `busy` is the part of its core that the client used."""

    answered: int
    seconds: float
    busy: float

    @property
    def rate(self) -> float:
        return self.answered / self.seconds


class WrongAnswer(Exception):
    """The server answered something else than expected: the round measured something else too."""


def drive(port: int, requests: Sequence[bytes], *, seconds: float, expected: int) -> Load:
    """Send the requests until they or the seconds are over; every answer must have the expected status."""
    here, there = _SPAWN.Pipe()
    client = _SPAWN.Process(target=_client, args=[there, port, requests, seconds, expected], daemon=True)
    client.start()
    there.close()
    try:
        told = here.recv()
    finally:
        client.join()
    if isinstance(told, str):
        raise WrongAnswer(told)
    return told


_SPAWN = multiprocessing.get_context("spawn")


def _client(pipe: Connection, port: int, requests: Sequence[bytes], seconds: float, expected: int) -> None:
    try:
        pipe.send(_drive(port, requests, seconds, expected))
    except (WrongAnswer, OSError) as error:
        pipe.send(f"{type(error).__name__}: {error}")


def _drive(port: int, requests: Sequence[bytes], seconds: float, expected: int) -> Load:
    waiting = iter(requests)
    with selectors.DefaultSelector() as selector:
        callers = [Caller(port, expected) for _ in range(min(CALLERS, len(requests)))]
        for caller in callers:
            caller.connect(selector)
        began, began_cpu = time.perf_counter(), time.process_time()
        busy = sum(caller.send(waiting) for caller in callers)
        answered = 0
        while busy and (left := began + seconds - time.perf_counter()) > 0:
            for key, _ in selector.select(left):
                caller = key.data
                if caller.hear():
                    answered += 1
                    caller.renew(selector)
                    busy -= not caller.send(waiting)
        took, used = time.perf_counter() - began, time.process_time() - began_cpu
        for caller in callers:
            caller.close()
    return Load(answered, took, used / took)


class Caller:
    """One keep-alive connection at a time."""

    def __init__(self, port: int, expected: int) -> None:
        self._port = port
        self._expected = b"HTTP/1.1 %d" % expected
        self._received = b""
        self._heard = 0
        self._owed = False

    def connect(self, selector: selectors.BaseSelector) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_SILENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(self._socket, selectors.EVENT_READ, self)

    def renew(self, selector: selectors.BaseSelector) -> None:
        """Hang up and connect anew, if it is time to."""
        if self._heard % _REQUESTS_PER_CONNECTION == 0:
            selector.unregister(self._socket)
            self._socket.close()
            self.connect(selector)

    def send(self, waiting: Iterator[bytes]) -> bool:
        """Send the next request; False if there is none."""
        request = next(waiting, None)
        if request is None:
            return False
        self._socket.sendall(request)
        self._owed = True
        return True

    def hear(self) -> bool:
        """Take in what has come; True when the answer is complete."""
        received = self._socket.recv(65536)
        if not received:
            raise WrongAnswer("the server closed a connection")
        self._received += received
        if not is_complete(self._received):
            return False
        if not self._received.startswith(self._expected):
            raise WrongAnswer(self._received[:300].decode(errors="replace"))
        self._received, self._owed = b"", False
        self._heard += 1
        return True

    def close(self) -> None:
        """Wait for an answer that is still owed: the server should begin the next round idle."""
        while self._owed:
            self.hear()
        self._socket.close()


def is_complete(answer: bytes) -> bool:
    """Whether the head has come, and as much of a body as it announces."""
    head, end, body = answer.partition(_END)
    if not end:
        return False
    at = head.lower().find(_LENGTH)
    return at < 0 or len(body) >= int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
