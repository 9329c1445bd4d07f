"""Deliveries accepted per second, compared with the same server doing only verify, insert, commit."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from itertools import count

from benchmarks import load
from benchmarks.bodies import delivery, event
from benchmarks.pace import Pace
from benchmarks.report import Row, client_row, compare
from benchmarks.servers import Servers

BAR = 0.85
_SUBSCRIPTIONS = 1_000
_MOST_PER_SECOND = 4_000

_ids = count()


def run(servers: Servers, pace: Pace) -> list[Row]:
    with (
        servers.site("accept") as site,
        site.web() as real,
        site.web("benchmarks.baselines:accept()") as bare,
    ):
        for port in (real, bare):
            load.drive(
                port, _deliveries(_MOST_PER_SECOND), seconds=pace.warm_up, expected=HTTPStatus.ACCEPTED
            )
        busy: list[float] = []

        def accepted(port: int) -> float:
            deliveries = _deliveries(round(_MOST_PER_SECOND * pace.seconds))
            result = load.drive(port, deliveries, seconds=pace.seconds, expected=HTTPStatus.ACCEPTED)
            busy.append(result.busy)
            return result.rate

        row = compare(
            "deliveries accepted, durable",
            lambda: accepted(real),
            lambda: accepted(bare),
            pace=pace,
            bar=BAR,
        )
    return [row, client_row(busy)]


def _deliveries(number: int) -> Sequence[bytes]:
    """`number` new deliveries, signed in advance, spread over many subscriptions."""
    return [
        delivery(f"msg_{n}", event(f"sub_{n % _SUBSCRIPTIONS}", seats=n % 50))
        for n in (next(_ids) for _ in range(number))
    ]
