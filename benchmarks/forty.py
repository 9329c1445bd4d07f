"""Forty subscriptions changed at once: time until all are verified and readable, at the default allowance.

The provider answers in 200 ms and allows 40 requests a second and 240 a minute. Forty deliveries are posted
at once, and the API is polled for each account until it shows the new count. Of 40 requests a second, the
budget keeps 4 for people and 2 for the timer, so the last six wait for the next second.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from statistics import median
from typing import Final

import orjson

from benchmarks.bodies import API_KEY, INCLUDED, account_of, delivery, event
from benchmarks.machine import OtherPrograms
from benchmarks.pace import Pace
from benchmarks.report import Row
from benchmarks.servers import Servers, Site, await_true
from providers.rate_limit.budget import DEFAULT_RATE
from runtime.wiring import Runtime

MOST_SECONDS: Final = 2.0
CHANGED: Final = 40
_PROVIDER_MS: Final = 200
_ROUNDS: Final = 7
_POSTERS: Final = 8
_POLL: Final = 0.02
_TIMEOUT_SECONDS: Final = 60.0

_IDLE = "SELECT NOT EXISTS (SELECT FROM subscriptions WHERE hint > synced OR next_at > now())"

_seats = count(1)


def run(servers: Servers, pace: Pace) -> list[Row]:
    ids = [f"sub_{n}" for n in range(CHANGED)]
    with servers.site("forty") as plain:
        site = plain.with_environment({"SEATSYNC_PROVIDER_RATE": DEFAULT_RATE})
        site.set_provider("delay", _PROVIDER_MS)
        with site.all_processes() as port, site.runtime() as runtime:
            _round(site, runtime, port, ids)  # the first syncs create the accounts
            others = OtherPrograms()
            rounds = [_round(site, runtime, port, ids) for _ in range(min(pace.rounds, _ROUNDS))]
            share = others.share()
    half, everything = [waits[len(waits) // 2 - 1] for waits in rounds], [waits[-1] for waits in rounds]
    return [
        Row(
            what=f"{CHANGED} changed at once -> all verified and readable",
            ours=_described(everything),
            baseline=f"the provider's {_PROVIDER_MS} ms, {DEFAULT_RATE}",
            bar=f"<= {MOST_SECONDS:g} s",
            is_met=median(everything) <= MOST_SECONDS,
            others=share,
        ),
        Row(what="  half of them", ours=_described(half)),
    ]


def _described(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f}, n={len(seconds)})"


def _round(site: Site, runtime: Runtime, port: int, ids: Sequence[str]) -> list[float]:
    """Change all at once; return the seconds until each was readable, in ascending order."""
    _give_whole_allowance(runtime)
    seats = next(_seats)
    site.set_provider("seats", seats)
    deliveries = [delivery(f"msg_{seats}_{one}", event(one, seats)) for one in ids]
    with ThreadPoolExecutor(_POSTERS) as posters:
        began = time.perf_counter()
        posted = [posters.submit(_post, port, one) for one in deliveries]
        waits = list(_waits_until_readable(port, ids, seats, began))
        for one in posted:
            one.result()
        return waits


def _give_whole_allowance(runtime: Runtime) -> None:
    """Wait until nothing is due, then forget the requests of the last minute."""
    await_true(runtime, _IDLE)
    for key in runtime.redis.scan_iter("*budget*"):
        runtime.redis.delete(key)


def _post(port: int, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS) as connection:
        connection.sendall(request)
        if b" 202 " not in (response := connection.recv(4096)):
            raise RuntimeError(f"a delivery was not accepted: {response!r}")


def _waits_until_readable(port: int, ids: Sequence[str], seats: int, began: float) -> Iterator[float]:
    """Poll the accounts in turn until each shows the seats, verified; yield the seconds since `began`.

    One caller with one connection: more of them would take the time from the workers.
    """
    left = list(ids)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)) as connection:
        while left:
            if time.perf_counter() - began > _TIMEOUT_SECONDS:
                raise TimeoutError(f"{left} were not readable after {_TIMEOUT_SECONDS:.0f} s")
            for one in list(left):
                if _is_readable(connection, one, seats):
                    left.remove(one)
                    yield time.perf_counter() - began
            time.sleep(_POLL)


def _is_readable(connection: http.client.HTTPConnection, subscription_id: str, seats: int) -> bool:
    path = f"/v1/accounts/{account_of(subscription_id)}/seats"
    connection.request("GET", path, headers={"Authorization": f"Bearer {API_KEY}"})
    shown = orjson.loads(connection.getresponse().read())
    if not shown.get("seats") or shown["stale"]:
        return False
    return bool(shown["seats"]["full"]["purchased"] == INCLUDED + seats)
