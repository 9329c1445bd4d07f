"""A pass over the provider's list, one per cent changed, against fetching the same pages and nothing else.

Both are done by one process, through the service's own client, on the same simulator, in turns; how much
memory that process needed says whether a pass grows with the list. What a pass finds is taken back before
the next round, so that every round finds it anew; only in the end it is looked at and written, once.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from random import Random

from sqlalchemy import text

from benchmarks.business import CATALOG, PRICED, Business, business
from benchmarks.pace import Pace
from benchmarks.report import Row, compare
from benchmarks.servers import Servers, Site
from benchmarks.timer import a_pass, work_off
from models import sync_queue
from runtime.settings import Settings
from runtime.wiring import Runtime, build
from services.sync.subscription import sync

BAR = 0.667  # of the rate, which is 1.5 times the time
MOST_MEMORY = 1.1
CHANGED = 0.01

_FEW, _MANY = 10_000, 100_000
_ROUNDS = {_FEW: 9, _MANY: 3}
_PAGE = 100
_PREFIX = "team"
_SPAWN = multiprocessing.get_context("spawn")

# Everybody is like the first one, whom the service looked at itself, but for the names.
_COPY_ACCOUNT = """
    INSERT INTO accounts SELECT copy.* FROM accounts AS model
    CROSS JOIN generate_series(1, :others) AS number
    CROSS JOIN LATERAL jsonb_populate_record(
        model, jsonb_build_object('id', :prefix || '-' || number)) AS copy
"""
_COPY_SUBSCRIPTION = """
    INSERT INTO subscriptions SELECT copy.* FROM subscriptions AS model
    CROSS JOIN unnest(cast(:ids AS text[])) WITH ORDINALITY AS wanted (id, number)
    CROSS JOIN LATERAL (SELECT :prefix || '-' || number AS id) AS account
    CROSS JOIN LATERAL (SELECT model.snapshot || jsonb_build_object(
        'subscription_id', wanted.id, 'metadata', jsonb_build_object('account_id', account.id)) AS snapshot
    ) AS seen
    CROSS JOIN LATERAL jsonb_populate_record(model, jsonb_build_object(
        'id', wanted.id, 'account_id', account.id, 'snapshot', seen.snapshot)) AS copy
"""
_TAKE_BACK = (
    "UPDATE subscriptions SET hint = synced, routine = false WHERE hint > synced",
    "DELETE FROM drift_findings",
)


class Errand(StrEnum):
    """What the walker can be sent for."""

    PAGES = "pages"
    PASS = "pass"
    LOOKS = "looks"


@dataclass(frozen=True, slots=True)
class Back:
    """What the walker says when it is back: how long it took, and the most memory it has had, in MB."""

    seconds: float
    peak: float
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Walker:
    """The process that does both sides."""

    pipe: Pipe

    def send(self, errand: Errand) -> Back:
        self.pipe.send(errand)
        back: Back = self.pipe.recv()
        if back.failure is not None:
            raise RuntimeError(back.failure)
        return back


def run(servers: Servers, pace: Pace) -> list[Row]:
    few, peak_of_few = _measured(servers, _FEW, pace)
    many, peak_of_many = _measured(servers, _MANY, pace)
    memory = Row(
        what="  its memory at the peak, many beside few",
        ours=f"{peak_of_many:.0f} MB",
        baseline=f"{peak_of_few:.0f} MB",
        ratio=f"{peak_of_many / peak_of_few:.2f}",
        bar=f"<= {MOST_MEMORY:g}",
        is_met=peak_of_many <= MOST_MEMORY * peak_of_few,
    )
    return [*few, *many, memory]


def _measured(servers: Servers, size: int, pace: Pace) -> tuple[list[Row], float]:
    """The rows for one size, and the walker's memory at its peak."""
    count = round(size * pace.size)
    rounds = min(_ROUNDS[size], pace.rounds)
    catalog = servers.home / "business.toml"
    catalog.write_text(CATALOG, encoding="utf-8")
    with servers.site(f"resync_{count}") as site, business(site) as provider:
        told = {"DODO_PAYMENTS_BASE_URL": provider.url, "SEATSYNC_CATALOG": str(catalog)}
        ours = site.but_with(told)
        with ours.runtime() as runtime, walker(ours, count // _PAGE) as sent:
            _make_known(runtime, provider, count)

            def passed() -> float:
                back = sent.send(Errand.PASS)
                _take_back(runtime)
                return count / back.seconds

            def fetched() -> float:
                return count / sent.send(Errand.PAGES).seconds

            passed(), fetched()
            row = compare(
                f"resync of {count:,} subscriptions, 1 % changed, against fetching the pages",
                passed,
                fetched,
                pace=replace(pace, rounds=rounds, tries=rounds + 2),
                bar=BAR,
            )
            found, looked = sent.send(Errand.PASS), sent.send(Errand.LOOKS)
            rate = count / (found.seconds + looked.seconds)
            return [row, Row("  with the 1 % retrieved and written", f"{rate:,.0f}/s")], looked.peak


def _make_known(runtime: Runtime, provider: Business, count: int) -> None:
    """Both sides know the same subscriptions; then some, by chance, change at the provider alone."""
    first, *others = provider.open(count, PRICED, prefix=_PREFIX)
    with runtime.sessions.begin() as session:
        sync_queue.raise_hint(session, first)
    sync(runtime, first)
    with runtime.sessions.begin() as session:
        session.execute(text(_COPY_ACCOUNT), {"prefix": _PREFIX, "others": len(others)})
        session.execute(text(_COPY_SUBSCRIPTION), {"prefix": _PREFIX, "ids": others})
    with runtime.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE accounts, subscriptions"))
    made = a_pass(runtime)
    if (made.listed, made.unheard_of, made.differing, made.vanished) != (count, 0, 0, 0):
        raise RuntimeError(f"both sides should be the same, but a pass found {made.differing} otherwise")
    for subscription_id in Random(0).sample((first, *others), round(count * CHANGED)):
        provider.change(subscription_id, "cart", addons=[{"addon_id": "adn_seat", "quantity": 9}])


def _take_back(runtime: Runtime) -> None:
    with runtime.sessions.begin() as session:
        for statement in _TAKE_BACK:
            session.execute(text(statement))


@contextmanager
def walker(site: Site, pages: int) -> Iterator[Walker]:
    """The process, ready; it ends with the block."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_walk, args=[there, site.environment, pages], daemon=True)
    process.start()
    there.close()
    try:
        yield Walker(here)
    finally:
        here.close()
        process.join()


def _walk(pipe: Pipe, environment: dict[str, str], pages: int) -> None:
    runtime = build(Settings.from_env(environment), application="seatsync-benchmarks")

    def fetch() -> None:
        for _page in islice(runtime.provider.pages(created_before=datetime.now(UTC)), pages):
            pass

    errands: dict[Errand, Callable[[], object]] = {
        Errand.PAGES: fetch,
        Errand.PASS: lambda: a_pass(runtime),
        Errand.LOOKS: lambda: work_off(runtime),
    }
    while True:
        try:
            errand = pipe.recv()
        except (EOFError, OSError):
            break
        failure, began = None, time.perf_counter()
        try:
            errands[errand]()
        except Exception as error:  # noqa: BLE001  told to the process that measures
            failure = repr(error)
        pipe.send(Back(time.perf_counter() - began, _peak(), failure))
    runtime.close()


def _peak() -> float:
    """The most memory this process has had, in MB; unlike `ru_maxrss`, without what its parent had."""
    told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert told is not None
    return int(told[1]) / 1024
