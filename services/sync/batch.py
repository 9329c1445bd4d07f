"""Sync a batch of due subscriptions for a bounded time: several retrieves at once, writes one at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from models.sync_queue import Lease
from runtime.wiring import Runtime
from services.sync.subscription import Answer, SyncOutcome, lease_due, retrieve, write

log = logging.getLogger(__name__)

# One more retrieve after this still ends within the soft time limit of a task.
_DRAIN_SECONDS: Final = 8.0
_THREADS: Final = 8

# The same budget and the same generation hold for the rest.
_STOPS: Final = frozenset({SyncOutcome.BUDGET_SPENT, SyncOutcome.OUTDATED})


def drain(
    runtime: Runtime,
    due: Sequence[str],
    *,
    seconds: float = _DRAIN_SECONDS,
    stops: Collection[SyncOutcome] = _STOPS,
    threads: int = _THREADS,
) -> Mapping[str, SyncOutcome]:
    """Sync those of the subscriptions that are due. Returns the outcomes by id, in the order of their end.

    Starts none after `seconds`, or after one of the outcomes `stops`; those stay due. A failure of the
    database is logged, and leaves the subscription due. `threads` is how many retrieves run at a time.
    """
    # A pool for each drain and not for the process, because threads do not survive a fork.
    pool = ThreadPoolExecutor(threads, thread_name_prefix="retrieve")
    try:
        return _Drain(runtime, pool, threads, iter(due), time.monotonic() + seconds, frozenset(stops)).run()
    finally:
        pool.shutdown(
            wait=False, cancel_futures=True
        )  # an interrupted drain does not wait; its leases expire


@dataclass(slots=True)
class _Drain:
    """One drain: `left` are the ids that are not leased yet, `running` the retrieves under way."""

    runtime: Runtime
    pool: ThreadPoolExecutor
    threads: int
    left: Iterator[str]
    until: float
    stops: frozenset[SyncOutcome]
    running: dict[Future[Answer], Lease] = field(default_factory=dict)
    outcomes: dict[str, SyncOutcome] = field(default_factory=dict)

    def run(self) -> Mapping[str, SyncOutcome]:
        self._start_retrieves()
        while self.running:
            self._write_finished()
            self._start_retrieves()
        return self.outcomes

    def _start_retrieves(self) -> None:
        """Lease as many as can be retrieved at once: a lease lasts little longer than a retrieve may take.
        Waits for several free threads, because leases are cheaper together.
        """
        while len(self.running) <= self.threads // 2 and self._may_start():
            ids = list(islice(self.left, self.threads - len(self.running)))
            if not ids:
                return
            with log_failure("syncs not started"):
                self._lease(ids)

    def _may_start(self) -> bool:
        return time.monotonic() < self.until and self.stops.isdisjoint(self.outcomes.values())

    def _lease(self, ids: Sequence[str]) -> None:
        leases = lease_due(self.runtime, ids)
        if leases is None:
            self.outcomes[ids[0]] = SyncOutcome.OUTDATED
            return
        for lease in leases:
            self.running[self.pool.submit(retrieve, self.runtime, lease)] = lease

    def _write_finished(self) -> None:
        """Wait for an answer, and write it with all others that have come in, oldest lease first."""
        finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
        for answer in [one for one in self.running if one in finished]:
            lease = self.running.pop(answer)
            with log_failure("sync failed", subscription_id=lease.subscription_id):
                self.outcomes[lease.subscription_id] = write(self.runtime, lease, answer.result())


@contextmanager
def log_failure(message: str, **extra: str) -> Iterator[None]:
    """Log an error instead of raising it, so that a failure does not stop the work on other rows."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
        log.error(message, extra={**extra, "error": type(error).__name__})  # noqa: TRY400
