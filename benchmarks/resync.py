"""A pass over the provider's list with one per cent changed, compared with fetching the same pages only.

One process runs the pass, tuned like a child of the worker, and one fetches the pages with requests, in turns
on the same simulator. The peak memory of the first shows whether a pass needs more memory for a longer list.
The results of a pass are removed before the next round, so that every round finds the same differences; after
the last round they are synced once.
"""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from random import Random

from sqlalchemy import text

from benchmarks.bodies import PROVIDER_KEY
from benchmarks.business import CATALOG, PRICED, Business, business
from benchmarks.pace import Pace
from benchmarks.report import Row, compare
from benchmarks.servers import Servers, Site
from benchmarks.timer import run_due_syncs, run_pass
from models import sync_queue
from runtime import garbage
from runtime.settings import Settings
from runtime.wiring import Runtime, build
from services.sync.subscription import sync

_FEW, _MANY = 10_000, 100_000
BARS = {_FEW: 0.75, _MANY: 0.72}
MOST_MEMORY = 1.1
CHANGED = 0.01

_ROUNDS = {_FEW: 9, _MANY: 3}
_PAGE = 100
_PREFIX = "team"
_SPAWN = multiprocessing.get_context("spawn")

# All rows are copies, with other ids, of the first subscription, which the service synced itself.
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
    ) AS provider_state
    CROSS JOIN LATERAL jsonb_populate_record(model, jsonb_build_object(
        'id', wanted.id, 'account_id', account.id, 'snapshot', provider_state.snapshot)) AS copy
"""
_UNDO_PASS = (
    "UPDATE subscriptions SET hint = synced, routine = false WHERE hint > synced",
    "DELETE FROM drift_findings",
)


class Task(StrEnum):
    """What the measured process can do."""

    PASS = "pass"
    SYNCS = "syncs"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How long the task took, and the peak memory of the process so far, in MB."""

    seconds: float
    peak: float
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class MeasuredProcess:
    """The process that runs our side."""

    pipe: Pipe

    def run(self, task: Task) -> TaskResult:
        """Run the task in the process. Raises RuntimeError if it failed there."""
        self.pipe.send(task)
        result: TaskResult = self.pipe.recv()
        if result.failure is not None:
            raise RuntimeError(result.failure)
        return result


def run(servers: Servers, pace: Pace) -> list[Row]:
    few, peak_of_few = _measured(servers, _FEW, pace)
    many, peak_of_many = _measured(servers, _MANY, pace)
    memory = Row(
        what=f"  peak memory, {_MANY:,} against {_FEW:,}",
        ours=f"{peak_of_many:.0f} MB",
        baseline=f"{peak_of_few:.0f} MB",
        ratio=f"{peak_of_many / peak_of_few:.2f}",
        bar=f"<= {MOST_MEMORY:g}",
        is_met=peak_of_many <= MOST_MEMORY * peak_of_few,
    )
    return [*few, *many, memory]


def _measured(servers: Servers, size: int, pace: Pace) -> tuple[list[Row], float]:
    """Measure with a list of `size` subscriptions; return the table rows and the peak memory in MB."""
    count = round(size * pace.size)
    catalog = servers.home / "business.toml"
    catalog.write_text(CATALOG, encoding="utf-8")
    with servers.site(f"resync_{count}") as site, business(site) as provider:
        changed = {"DODO_PAYMENTS_BASE_URL": provider.url, "SEATSYNC_CATALOG": str(catalog)}
        ours = site.with_environment(changed)
        with (
            ours.runtime() as runtime,
            measured_process(ours) as process,
            fetching_process(ours, provider.url, count // _PAGE) as fetch,
        ):
            _prepare_subscriptions(runtime, provider, count)

            def rate_of_pass() -> float:
                result = process.run(Task.PASS)
                _undo_pass(runtime)
                return count / result.seconds

            def rate_of_pages() -> float:
                return count / fetch()

            rate_of_pass(), rate_of_pages()
            row = compare(
                f"resync of {count:,} subscriptions, 1 % changed, against fetching the pages",
                rate_of_pass,
                rate_of_pages,
                pace=pace.at_most(_ROUNDS[size]),
                bar=BARS[size],
            )
            last_pass, syncs = process.run(Task.PASS), process.run(Task.SYNCS)
            rate = count / (last_pass.seconds + syncs.seconds)
            return [row, Row("  with the 1 % retrieved and stored", f"{rate:,.0f}/s")], syncs.peak


def _prepare_subscriptions(runtime: Runtime, provider: Business, count: int) -> None:
    """Open `count` subscriptions at the provider and in our database, equal on both sides; then change a
    random one per cent at the provider only.
    """
    first, *others = provider.open(count, PRICED, prefix=_PREFIX)
    with runtime.sessions.begin() as session:
        sync_queue.raise_hint(session, first)
    sync(runtime, first)
    with runtime.sessions.begin() as session:
        session.execute(text(_COPY_ACCOUNT), {"prefix": _PREFIX, "others": len(others)})
        session.execute(text(_COPY_SUBSCRIPTION), {"prefix": _PREFIX, "ids": others})
    with runtime.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE accounts, subscriptions"))
    first_pass = run_pass(runtime)
    differences = (first_pass.unheard_of, first_pass.differing, first_pass.vanished)
    if (first_pass.listed, *differences) != (count, 0, 0, 0):
        raise RuntimeError(
            f"both sides should be equal, but a pass listed {first_pass.listed} subscriptions and found "
            "{} unknown, {} differing and {} vanished".format(*differences)
        )
    for subscription_id in Random(0).sample((first, *others), round(count * CHANGED)):
        provider.change(subscription_id, "cart", addons=[{"addon_id": "adn_seat", "quantity": 9}])


def _undo_pass(runtime: Runtime) -> None:
    with runtime.sessions.begin() as session:
        for statement in _UNDO_PASS:
            session.execute(text(statement))


@contextmanager
def fetching_process(site: Site, url: str, pages: int) -> Iterator[Callable[[], float]]:
    """Start the bare process; yields what fetches all pages in it and returns the seconds that took."""
    argv = [sys.executable, "-m", "benchmarks.bare.pages", url, PROVIDER_KEY, str(pages)]
    with subprocess.Popen(
        argv, env=site.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        commands, results = process.stdin, process.stdout
        assert commands is not None
        assert results is not None

        def fetch() -> float:
            print(file=commands, flush=True)
            return float(results.readline())

        yield fetch
        commands.close()


@contextmanager
def measured_process(site: Site) -> Iterator[MeasuredProcess]:
    """Start the process; it ends with the block."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_run_tasks, args=[there, site.environment], daemon=True)
    process.start()
    there.close()
    try:
        yield MeasuredProcess(here)
    finally:
        here.close()
        process.join()


def _run_tasks(pipe: Pipe, environment: dict[str, str]) -> None:
    runtime = build(Settings.from_env(environment), application="seatsync-benchmarks")
    garbage.exclude_present_objects()
    garbage.collect_rarely()
    tasks: dict[Task, Callable[[], object]] = {
        Task.PASS: lambda: run_pass(runtime),
        Task.SYNCS: lambda: run_due_syncs(runtime),
    }
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            break
        failure, began = None, time.perf_counter()
        try:
            tasks[task]()
        except Exception as error:  # noqa: BLE001  reported to the measuring process
            failure = repr(error)
        pipe.send(TaskResult(time.perf_counter() - began, _peak(), failure))
    runtime.close()


def _peak() -> float:
    """Peak memory of this process in MB. (`ru_maxrss` would include what its parent used.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024
