"""Seats read per second from a warm cache, against a bare Flask view doing one Redis GET."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from itertools import cycle, islice

from benchmarks import load
from benchmarks.baselines import bare_key
from benchmarks.bodies import account_of, get
from benchmarks.pace import Pace
from benchmarks.report import Row, client_row, compare
from benchmarks.servers import Servers, Site
from models import subscription
from worker.sync import sync

BAR = 0.85
_ACCOUNTS = 500
_MOST_PER_SECOND = 6_000


def run(servers: Servers, pace: Pace) -> list[Row]:
    with servers.site("read") as site, site.web() as real, site.web("benchmarks.baselines:read()") as bare:
        reads = _fill(site, round(_ACCOUNTS * pace.size))
        busy: list[float] = []

        def answered(port: int, seconds: float) -> float:
            requests = list(islice(cycle(reads), round(_MOST_PER_SECOND * seconds)))
            told = load.drive(port, requests, seconds=seconds, expected=HTTPStatus.OK)
            busy.append(told.busy)
            return told.rate

        def ours() -> float:
            # Entries live for eight seconds at least: filled anew, they outlast the round.
            load.drive(real, reads, seconds=30, expected=HTTPStatus.OK)
            return answered(real, pace.seconds)

        ours()
        _copy(site, reads, real)
        answered(bare, pace.warm_up)
        row = compare(
            "GET /v1/accounts/{id}/seats, cache warm",
            ours,
            lambda: answered(bare, pace.seconds),
            pace=pace,
            bar=BAR,
        )
    return [row, client_row(busy)]


def _fill(site: Site, accounts: int) -> Sequence[bytes]:
    """So many accounts with a subscription each, and the requests that read them."""
    ids = [f"sub_{n}" for n in range(accounts)]
    with site.runtime() as runtime:
        for subscription_id in ids:
            with runtime.sessions.begin() as session:
                subscription.raise_hint(session, subscription_id)
            sync(runtime, subscription_id)
    return [get(f"/v1/accounts/{account_of(one)}/seats") for one in ids]


def _copy(site: Site, reads: Sequence[bytes], port: int) -> None:
    """Give the bare view the same documents under keys of its own, without an end."""
    del port
    with site.runtime() as runtime:
        for n in range(len(reads)):
            account_id = account_of(f"sub_{n}")
            kept = runtime.cache.get(account_id)
            assert kept is not None
            runtime.redis.set(bare_key(account_id), kept.document)
