"""The wake_ups: wakes a worker soon, and never makes anybody wait for the broker.

A ring is best effort. It may be lost (the process dies, the broker is away), doubled or late: the
subscription's row says what is to be done, and the sweep finds what no ring announced.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[str]], None]

# Rings of one moment travel together: a task costs more than the signature check of a delivery.
_LINGER: Final = 0.04
_MOST_IN_ONE: Final = 100
_REST_AFTER_FAILURE: Final = 1.0


class WakeUps:
    """Collects rings and publishes them from a thread of its own, one ring per subscription at a time."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._waiting: dict[str, float] = {}
        self._changed = threading.Condition()
        self._runs_in: int | None = None

    def ring(self, subscription_id: str, delay: float = 0.0) -> None:
        """Have the subscription looked at in `delay` seconds; returns at once and never raises."""
        due = time.monotonic() + max(delay, 0.0)
        with self._changed:
            self._waiting[subscription_id] = min(due, self._waiting.get(subscription_id, due))
            self._ensure_thread()
            self._changed.notify()

    def _ensure_thread(self) -> None:
        """Threads do not survive a fork, so each process starts its own at its first ring."""
        if self._runs_in != os.getpid():
            self._runs_in = os.getpid()
            threading.Thread(target=self._run, name="wake_ups", daemon=True).start()

    def _run(self) -> None:
        while True:
            ready = self._take_ready()
            try:
                self._publish(ready)
            except Exception as error:  # noqa: BLE001  whatever the broker does, a lost ring is no error
                log.warning("wake_ups not heard", extra={"error": type(error).__name__, "rings": len(ready)})
                time.sleep(_REST_AFTER_FAILURE)

    def _take_ready(self) -> list[str]:
        with self._changed:
            while not self._waiting or (wait := min(self._waiting.values()) - time.monotonic()) > 0:
                self._changed.wait(wait if self._waiting else None)
        time.sleep(_LINGER)
        now = time.monotonic()
        with self._changed:
            ready = [one for one, due in self._waiting.items() if due <= now][:_MOST_IN_ONE]
            for one in ready:
                del self._waiting[one]
        return ready
