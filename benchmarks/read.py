"""Seats read per second from a warm cache, against a bare Flask view doing one Redis GET."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import cycle, islice

from benchmarks import load
from benchmarks.baselines import bare_key
from benchmarks.bodies import account_of, get
from benchmarks.pace import Pace
from benchmarks.report import Row, client_row, compare
from benchmarks.servers import Servers, Site
from models import sync_queue
from runtime.seat_cache import CachedDocument
from services.sync.subscription import sync

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

        load.drive(real, reads, seconds=30, expected=HTTPStatus.OK)
        documents = _documents(site, len(reads))

        def ours() -> float:
            _keep_warm(site, documents)
            return answered(real, pace.seconds)

        _copy(site, documents)
        for port in (real, bare):
            answered(port, pace.warm_up)
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
                sync_queue.raise_hint(session, subscription_id)
            sync(runtime, subscription_id)
    return [get(f"/v1/accounts/{account_of(one)}/seats") for one in ids]


def _documents(site: Site, accounts: int) -> Mapping[str, CachedDocument]:
    """What the cache holds for each account."""
    with site.runtime() as runtime:
        kept = {one: runtime.cache.get(one) for one in (account_of(f"sub_{n}") for n in range(accounts))}
    return {account_id: found for account_id, found in kept.items() if found is not None}


def _keep_warm(site: Site, documents: Mapping[str, CachedDocument]) -> None:
    """Entries live for eight seconds at least, whoever reads them: kept anew, they outlast a round."""
    with site.runtime() as runtime:
        for account_id, kept in documents.items():
            runtime.cache.fill(account_id, kept.version, kept.document)


def _copy(site: Site, documents: Mapping[str, CachedDocument]) -> None:
    """Give the bare view the same documents under keys of its own, without an end."""
    with site.runtime() as runtime:
        for account_id, kept in documents.items():
            runtime.redis.set(bare_key(account_id), kept.document)
