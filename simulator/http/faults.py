"""Faults of the provider's API: slow, broken or missing answers, as often as the knobs say."""

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
    """Draws the faults. Waiting ends when the simulator stops."""

    def __init__(self, seed: int, stopping: threading.Event) -> None:
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._stopping = stopping

    def instead(self, knobs: Knobs, route: str) -> tuple[Response, str] | None:
        """An error instead of doing what was asked, or no answer at all, and the name of the fault."""
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
        """The answer as it will arrive, and the name of the fault: by now the work has been done.

        So an answer that comes late is an old one, and a change whose answer never came did happen. What
        was cut before the work is a stream already, and stays as it is.
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
    """Routes are patterns over method and path: `GET /subscriptions/*` is every retrieve."""
    return any(fnmatchcase(route, pattern) for pattern in knobs.api_fault_routes)


def _cut(body: bytes) -> Iterator[bytes]:
    """Half of it; of nothing, not even the head leaves."""
    if body:
        yield body[: len(body) // 2]
    raise CutConnection


def _streamed(answer: Response, chunks: Iterator[bytes]) -> Response:
    """The same head, with the promised length, before a body that comes in pieces.

    A 204 becomes a 200: of the former no chunk is ever asked for, so that nothing could cut it.
    """
    headers = {**answer.headers, "Content-Length": str(len(answer.get_data()))}
    return Response(chunks, 200 if answer.status_code == 204 else answer.status_code, headers)
