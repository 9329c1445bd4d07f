"""Deliveries accepted per second, compared with a bare receiver on the same server."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from itertools import count

from sqlalchemy import text

from benchmarks import load
from benchmarks.bare.accept import TABLE
from benchmarks.bodies import delivery, event
from benchmarks.pace import Pace
from benchmarks.report import Row, client_row, compare
from benchmarks.servers import Servers, Site

BAR = 0.75
_SUBSCRIPTIONS = 1_000
_MOST_PER_SECOND = 4_000

_ids = count()


def run(servers: Servers, pace: Pace) -> list[Row]:
    with servers.site("accept") as site, site.runtime() as runtime:
        with runtime.engine.begin() as connection:
            connection.execute(text(TABLE))
        return _compared(site, pace)


def _compared(site: Site, pace: Pace) -> list[Row]:
    with site.web() as real, site.bare_web("benchmarks.bare.accept:create()") as bare:
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
