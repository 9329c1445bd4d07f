"""Sync a batch of due subscriptions for a bounded time: several retrieves at once, writes one at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain, islice
from typing import Final

from models.sync_queue import Lease
from runtime.wiring import Runtime
from services.sync.subscription import Answer, SyncOutcome, lease_due, retrieve, write

log = logging.getLogger(__name__)

_DRAIN_SECONDS: Final = 8.0
# How long after that answers are waited for and written: a retrieve takes up to eight seconds. Both together
# end within the soft time limit of a task.
_LAST_SECONDS: Final = 9.0
AT_ONCE: Final = 8
"""How many retrieves of a drain run at a time."""

# After one of these, the next subscription would most likely end the same way.
_STOPS: Final = frozenset({SyncOutcome.BUDGET_SPENT, SyncOutcome.OUTDATED})


def drain(
    runtime: Runtime,
    due: Sequence[str],
    *,
    seconds: float = _DRAIN_SECONDS,
    stops: Collection[SyncOutcome] = _STOPS,
    threads: int = AT_ONCE,
) -> Mapping[str, SyncOutcome]:
    """Sync those of the subscriptions that are due. Returns the outcomes by id, in the order of their end.

    Starts none after `seconds`, or after one of the outcomes `stops`; those stay due, as do those that others
    have locked. A failure of the database is logged, and leaves the subscription due. `threads` is how many
    retrieves run at a time.
    """
    # A pool for each drain and not for the process, because threads do not survive a fork.
    pool = ThreadPoolExecutor(threads, thread_name_prefix="retrieve")
    try:
        until = time.monotonic() + seconds
        return _Drain(runtime, pool, due, threads=threads, until=until, stops=stops).run()
    finally:
        # An interrupted drain does not wait for its retrieves; their leases expire.
        pool.shutdown(wait=False, cancel_futures=True)


class _Drain:
    """One drain, until the monotonic time `until`."""

    def __init__(
        self,
        runtime: Runtime,
        pool: ThreadPoolExecutor,
        due: Sequence[str],
        *,
        threads: int,
        until: float,
        stops: Collection[SyncOutcome],
    ) -> None:
        self._runtime = runtime
        self._pool = pool
        self._threads = threads
        self._until = until
        self._stops = frozenset(stops)
        self._left = chain(due, self._skipped_before())
        self._skipped: list[str] = []
        self._running: dict[Future[Answer], Lease] = {}
        self._outcomes: dict[str, SyncOutcome] = {}

    def run(self) -> Mapping[str, SyncOutcome]:
        self._start_retrieves()
        while self._running and time.monotonic() < self._until + _LAST_SECONDS:
            self._write_finished()
            self._start_retrieves()
        return self._outcomes

    def _skipped_before(self) -> Iterator[str]:
        """Those that were not leased at first: others may have locked their rows for a moment."""
        yield from tuple(self._skipped)

    def _start_retrieves(self) -> None:
        """Lease as many as can be retrieved at once: a lease lasts little longer than a retrieve may take.
        Waits for several free threads, because leases are cheaper together.
        """
        while len(self._running) <= self._threads // 2 and self._may_start():
            ids = list(islice(self._left, self._threads - len(self._running)))
            if not ids:
                return
            with log_failure("syncs not started", subscription_ids=", ".join(ids)):
                self._lease(ids)

    def _may_start(self) -> bool:
        return time.monotonic() < self._until and self._stops.isdisjoint(self._outcomes.values())

    def _lease(self, ids: Sequence[str]) -> None:
        leases = lease_due(self._runtime, ids)
        if leases is None:
            self._outcomes[ids[0]] = SyncOutcome.OUTDATED
            return
        if len(ids) > 1:
            self._skipped += set(ids) - {lease.subscription_id for lease in leases}
        for lease in leases:
            self._running[self._pool.submit(retrieve, self._runtime, lease)] = lease

    def _write_finished(self) -> None:
        """Wait for an answer, and write it with all others that have come in, oldest lease first."""
        time_left = self._until + _LAST_SECONDS - time.monotonic()
        finished, _ = wait(self._running, timeout=time_left, return_when=FIRST_COMPLETED)
        for answer in [one for one in self._running if one in finished]:
            lease = self._running.pop(answer)
            with log_failure("sync failed", subscription_id=lease.subscription_id):
                self._outcomes[lease.subscription_id] = write(self._runtime, lease, answer.result())


@contextmanager
def log_failure(message: str, **extra: str) -> Iterator[None]:
    """Log an error instead of raising it, so that a failure does not stop the work on other rows."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  the text of a database error may hold personal data
        log.error(message, extra={**extra, "error": type(error).__name__})  # noqa: TRY400
