"""Faults of the provider's API: slow, broken or missing responses, with the probabilities of the knobs."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from fnmatch import fnmatchcase

from flask import Response

from simulator.http.responses import refuse
from simulator.http.server_socket import CutConnection
from simulator.knobs import Knobs
from simulator.refusal import Refusal

DRIPS = 50


class Faults:
    """Injects the faults at random. Delays end when the simulator stops."""

    def __init__(self, seed: int, stopping: threading.Event) -> None:
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._stopping = stopping

    def instead(self, knobs: Knobs, route: str) -> tuple[Response, str] | None:
        """A fault instead of handling the request: an error or a cut connection, with its name. None if
        none.
        """
        if not _concerns(knobs, route):
            return None
        if self._strikes(knobs.api_500_probability):
            return refuse(Refusal(500, "INTERNAL_SERVER_ERROR", "Something went wrong")), "500"
        if self._strikes(knobs.api_429_probability):
            return refuse(Refusal(429, "TOO_MANY_REQUESTS", "")), "429"
        if self._strikes(knobs.api_cut_before_probability):
            return Response(_cut(b""), 500), "cut_before"
        return None

    def spoil(self, knobs: Knobs, route: str, answer: Response) -> tuple[Response, str | None]:
        """The response with a fault, and the name of the fault, if any.

        The request has been handled by then, so a late response shows an old state, and a change whose
        response is lost was made. A response that is cut already (a stream) stays as it is.
        """
        if not _concerns(knobs, route) or answer.is_streamed:
            return answer, None
        self._stopping.wait(knobs.api_latency_seconds)
        if self._strikes(knobs.api_hang_probability):
            self._stopping.wait(knobs.api_hang_seconds)
            return answer, "hang"
        if self._strikes(knobs.api_malformed_probability):
            answer.set_data(answer.get_data().replace(b"}", b","))
            return answer, "malformed"
        if self._strikes(knobs.api_cut_probability):
            return _streamed(answer, _cut(answer.get_data())), "cut"
        if self._strikes(knobs.api_slow_body_probability):
            return _streamed(answer, self._drip(answer.get_data(), knobs.api_slow_body_seconds)), "slow_body"
        return answer, None

    def _strikes(self, probability: float) -> bool:
        if probability <= 0:
            return False
        with self._lock:
            return self._chance.random() < probability

    def _drip(self, body: bytes, seconds: float) -> Iterator[bytes]:
        step = len(body) // DRIPS + 1
        for start in range(0, len(body), step):
            yield body[start : start + step]
            self._stopping.wait(seconds / DRIPS)


def _concerns(knobs: Knobs, route: str) -> bool:
    """Whether faults apply to the route. Patterns are like `GET /subscriptions/*`."""
    return any(fnmatchcase(route, pattern) for pattern in knobs.api_fault_routes)


def _cut(body: bytes) -> Iterator[bytes]:
    """Send half of the body, then cut the connection. For an empty body, not even the headers are sent."""
    if body:
        yield body[: len(body) // 2]
    raise CutConnection


def _streamed(answer: Response, chunks: Iterator[bytes]) -> Response:
    """The response with the same headers and full length, but with a body sent in chunks.

    A 204 becomes a 200, because the chunks of a 204 are never sent and so could not cut the connection.
    """
    headers = {**answer.headers, "Content-Length": str(len(answer.get_data()))}
    return Response(chunks, 200 if answer.status_code == 204 else answer.status_code, headers)
