"""Seats documents read per second, cache warm, compared with a bare Flask view doing one Redis GET."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import cycle, islice

from benchmarks import load
from benchmarks.bare.read import key
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
    with (
        servers.site("read") as site,
        site.web() as real,
        site.bare_web("benchmarks.bare.read:create()") as bare,
    ):
        reads = _fill(site, round(_ACCOUNTS * pace.size))
        busy: list[float] = []

        def reads_per_second(port: int, seconds: float) -> float:
            requests = list(islice(cycle(reads), round(_MOST_PER_SECOND * seconds)))
            result = load.drive(port, requests, seconds=seconds, expected=HTTPStatus.OK)
            busy.append(result.busy)
            return result.rate

        load.drive(real, reads, seconds=30, expected=HTTPStatus.OK)
        documents = _documents(site, len(reads))

        def ours() -> float:
            _refill_cache(site, documents)
            return reads_per_second(real, pace.seconds)

        _copy_for_baseline(site, documents)
        for port in (real, bare):
            reads_per_second(port, pace.warm_up)
        row = compare(
            "GET /v1/accounts/{id}/seats, cache warm",
            ours,
            lambda: reads_per_second(bare, pace.seconds),
            pace=pace,
            bar=BAR,
        )
    return [row, client_row(busy)]


def _fill(site: Site, accounts: int) -> Sequence[bytes]:
    """Create `accounts` accounts with one subscription each; return the requests that read them."""
    ids = [f"sub_{n}" for n in range(accounts)]
    with site.runtime() as runtime:
        for subscription_id in ids:
            with runtime.sessions.begin() as session:
                sync_queue.raise_hint(session, subscription_id)
            sync(runtime, subscription_id)
    return [get(f"/v1/accounts/{account_of(one)}/seats") for one in ids]


def _documents(site: Site, accounts: int) -> Mapping[str, CachedDocument]:
    """The cached document of each account."""
    with site.runtime() as runtime:
        cached = {one: runtime.cache.get(one) for one in (account_of(f"sub_{n}") for n in range(accounts))}
    return {account_id: found for account_id, found in cached.items() if found is not None}


def _refill_cache(site: Site, documents: Mapping[str, CachedDocument]) -> None:
    """Store the documents again. Entries expire after eight seconds or more, so they then outlast a round."""
    with site.runtime() as runtime:
        for account_id, cached in documents.items():
            runtime.cache.fill(account_id, cached.version, cached.document)


def _copy_for_baseline(site: Site, documents: Mapping[str, CachedDocument]) -> None:
    """Store the same documents for the bare view, under its own keys and without expiry."""
    with site.runtime() as runtime:
        for account_id, cached in documents.items():
            runtime.redis.set(key(account_id), cached.document)
