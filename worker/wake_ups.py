"""Wake-ups: tell a worker that a subscription is due, without making the caller wait for the broker.

A wake-up is best effort: it may be lost, repeated or late. The subscription's row says what is due, and the
sweep finds rows whose wake-ups were lost.
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[str]], None]

# Wake-ups are collected for this long and sent as one task: a task costs more than storing a delivery.
_COLLECT_SECONDS: Final = 0.04
_MOST_IN_ONE: Final = 100
_PAUSE_AFTER_FAILURE_SECONDS: Final = 1.0


class WakeUps:
    """Collects wake-ups, at most one per subscription, and publishes them from a thread of its own."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        # When each is due. The heap holds the same, earliest first, and entries that were replaced by earlier
        # ones; those are skipped when they come up.
        self._due_times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        self._thread_pid: int | None = None

    def wake(self, subscription_id: str, delay: float = 0.0) -> None:
        """Have the subscription synced in `delay` seconds; returns at once and never raises."""
        due = time.monotonic() + max(delay, 0.0)
        with self._changed:
            self._ensure_thread()
            if due >= self._due_times.get(subscription_id, math.inf):
                return
            is_next = not self._heap or due < self._heap[0][0]
            self._due_times[subscription_id] = due
            heapq.heappush(self._heap, (due, subscription_id))
            if is_next:  # otherwise the thread wakes in time by itself
                self._changed.notify()

    def _ensure_thread(self) -> None:
        """Threads do not survive a fork, so each process starts its own at its first wake-up."""
        if self._thread_pid != os.getpid():
            threading.Thread(target=self._run, name="wake_ups", daemon=True).start()
            self._thread_pid = os.getpid()

    def _run(self) -> None:
        while True:
            ready = self._wait_for_due()
            if not ready:  # an earlier wake-up replaced the one that was due
                continue
            try:
                self._publish(ready)
            except Exception as error:  # noqa: BLE001  every broker client has errors of its own
                failed = {"error": type(error).__name__, "subscriptions": len(ready)}
                log.warning("wake-up not published", extra=failed)
                time.sleep(_PAUSE_AFTER_FAILURE_SECONDS)

    def _wait_for_due(self) -> list[str]:
        """Wait until a wake-up is due, and remove and return those that are due shortly after."""
        with self._changed:
            while not self._heap or (wait := self._heap[0][0] - time.monotonic()) > 0:
                self._changed.wait(wait if self._heap else None)
        time.sleep(_COLLECT_SECONDS)
        now, ready = time.monotonic(), list[str]()
        with self._changed:
            while self._heap and self._heap[0][0] <= now and len(ready) < _MOST_IN_ONE:
                due, subscription_id = heapq.heappop(self._heap)
                if self._due_times.get(subscription_id) == due:
                    del self._due_times[subscription_id]
                    ready.append(subscription_id)
        return ready
