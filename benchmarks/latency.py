"""Time from a delivery received to its verified count readable, provider answering in 20 ms, at half load.

First all processes get more deliveries than they can handle, to measure the rate they sustain. Then
deliveries arrive at random times at half that rate, and the API is polled after each until it shows the new
count. One in ten is followed by another change of the same subscription 0.2 s later, like a double click.
That is the slowest case, because a subscription is synced at most about once a second.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from statistics import median

import orjson

from benchmarks import load
from benchmarks.bodies import API_KEY, INCLUDED, account_of, delivery, event
from benchmarks.pace import Pace
from benchmarks.report import Row
from benchmarks.servers import Servers, Site, await_true

MOST_P50, MOST_P99 = 0.100, 1.5
_PROVIDER_MS = 20
_SUBSCRIPTIONS = 300
_ROUNDS, _ROUND_SECONDS = 3, 8.0
_FOLLOWED, _FOLLOWS_AFTER = 0.1, 0.2
_POLL = 0.01
_TIMEOUT_SECONDS = 30.0
_WATCHERS = 64

_DONE = "SELECT NOT EXISTS (SELECT FROM subscriptions WHERE hint > synced)"

_ids = count()


@dataclass(frozen=True, slots=True)
class Change:
    """A subscription gets `seats` seats, `at` seconds into the round."""

    at: float
    subscription_id: str
    seats: int


def run(servers: Servers, pace: Pace) -> list[Row]:
    ids = [f"sub_{n}" for n in range(round(_SUBSCRIPTIONS * pace.size))]
    with servers.site("latency") as site, site.all_processes() as port:
        site.set_provider("delay", _PROVIDER_MS)
        _sustained(site, port, ids)  # the first syncs create the accounts
        sustained = _sustained(site, port, ids)
        watch, chance = Watch(site, port), random.Random(1)
        seats: Counter[str] = Counter()
        rounds = [
            watch.all_of(list(_changes(ids, sustained / 2, _ROUND_SECONDS * pace.size, seats, chance)))
            for _ in range(min(pace.rounds, _ROUNDS))
        ]
    medians = [median(waits) for waits in rounds]
    waits = sorted(wait for one in rounds for wait in one)
    p50, p99 = median(waits), waits[round(0.99 * (len(waits) - 1))]
    return [
        Row(
            what="delivery received -> verified count readable",
            ours=f"p50 {p50 * 1000:.0f} ms ({min(medians) * 1000:.0f}-{max(medians) * 1000:.0f}), "
            f"p99 {p99:.2f} s",
            baseline=f"the provider's {_PROVIDER_MS} ms",
            bar=f"p50 < {MOST_P50 * 1000:.0f} ms, p99 < {MOST_P99:g} s",
            is_met=p50 < MOST_P50 and p99 < MOST_P99,
        ),
        Row(
            what="  at half the sustained rate",
            ours=f"{sustained / 2:.0f} of {sustained:.0f} deliveries/s, {len(waits)} watched",
        ),
    ]


def _sustained(site: Site, port: int, ids: Sequence[str]) -> float:
    """Deliveries per second, from the first one posted to the last one synced, one per subscription."""
    time.sleep(1.5)  # after a sync, the next one of the same subscription is due a second later
    deliveries = [delivery(f"msg_{next(_ids)}", event(one, seats=0)) for one in ids]
    began = time.perf_counter()
    load.drive(port, deliveries, seconds=_TIMEOUT_SECONDS, expected=HTTPStatus.ACCEPTED)
    with site.runtime() as runtime:
        await_true(runtime, _DONE)
    return len(ids) / (time.perf_counter() - began)


def _changes(
    ids: Sequence[str], rate: float, seconds: float, seats: Counter[str], chance: random.Random
) -> Iterator[Change]:
    """Changes at random times, the subscriptions taking turns; each change adds a seat."""
    at, turns = 0.0, count(chance.randrange(len(ids)))
    while (at := at + chance.expovariate(rate / (1 + _FOLLOWED))) < seconds:
        subscription_id = ids[next(turns) % len(ids)]
        for follows in range(1 + (chance.random() < _FOLLOWED)):
            seats[subscription_id] += 1
            yield Change(at + follows * _FOLLOWS_AFTER, subscription_id, seats[subscription_id])


class Watch:
    """Posts deliveries on schedule, and polls each account until it shows the new count."""

    def __init__(self, site: Site, port: int) -> None:
        self._site = site
        self._port = port
        self._own = threading.local()

    def all_of(self, changes: Sequence[Change]) -> list[float]:
        """Deliver the changes; return the seconds that each took to become readable."""
        began = time.perf_counter()
        with ThreadPoolExecutor(_WATCHERS) as pool:
            watched = []
            for change in sorted(changes, key=lambda one: one.at):
                time.sleep(max(0.0, began + change.at - time.perf_counter()))
                watched.append(pool.submit(self._one, change))
            return [one.result() for one in watched]

    def _one(self, change: Change) -> float:
        self._site.set_provider("seats", change.seats, change.subscription_id)
        request = delivery(f"msg_{next(_ids)}", event(change.subscription_id, change.seats))
        head, body = request.split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        began = time.perf_counter()
        self._request("POST", "/webhooks/dodo", body, headers)
        while not self._shows(change):
            if time.perf_counter() - began > _TIMEOUT_SECONDS:
                raise TimeoutError(f"{change} was not readable after {_TIMEOUT_SECONDS:.0f} s")
            time.sleep(_POLL)
        return time.perf_counter() - began

    def _shows(self, change: Change) -> bool:
        path = f"/v1/accounts/{account_of(change.subscription_id)}/seats"
        document = orjson.loads(self._request("GET", path, None, {"Authorization": f"Bearer {API_KEY}"}))
        return not document["stale"] and document["seats"]["full"]["purchased"] >= INCLUDED + change.seats

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        """Send one request on this thread's own connection; return the body of the response."""
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS
            )
        self._own.connection.request(method, path, body, headers)
        response = self._own.connection.getresponse()
        content: bytes = response.read()
        if response.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
            raise load.UnexpectedResponse(f"{method} {path}: {response.status} {content[:300]!r}")
        return content
