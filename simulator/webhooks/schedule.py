"""A queue of jobs with due times, for several threads."""

from __future__ import annotations

import heapq
import threading
import time
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Schedule(Generic[Job]):
    """A queue whose jobs can be taken only when they are due."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Job]] = []
        self._added = 0
        self._running = 0
        self._is_closed = False

    def add(self, job: Job, delay: float = 0.0) -> None:
        with self._changed:
            self._added += 1
            heapq.heappush(self._heap, (time.monotonic() + delay, self._added, job))
            self._changed.notify()

    def take(self) -> Job | None:
        """Wait for the next due job and take it. Returns None once the schedule is closed."""
        with self._changed:
            while not self._is_closed:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    self._running += 1
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(wait)
            return None

    def done(self) -> None:
        """Mark a job that was taken as finished."""
        with self._changed:
            self._running -= 1

    def unfinished(self) -> int:
        """The number of jobs that are waiting or running."""
        with self._changed:
            return len(self._heap) + self._running

    def clear(self) -> None:
        with self._changed:
            self._heap.clear()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
