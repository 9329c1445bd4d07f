"""The demo's processes, and the threads that work beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.supervisor import Supervisor

IsOver = Callable[[], bool]


class DemoProcesses(Supervisor):
    """A supervisor of which one can see from any thread that it is ending."""

    is_ending = False

    def stop(self) -> None:
        """The mark is a plain one, as a signal may ask for this in the middle of anything."""
        self.is_ending = True
        super().stop()


class BackgroundThread(threading.Thread):
    """Works beside a fleet until that ends. A fault in the work ends the fleet, and can be raised then."""

    def __init__(self, work: Callable[[IsOver], None], fleet: DemoProcesses) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._fleet = fleet
        self._fault: Exception | None = None

    def run(self) -> None:
        try:
            self._work(lambda: self._fleet.is_ending)
        except Exception as fault:  # noqa: BLE001  whatever it is, the main thread has to hear of it
            self._fault = fault
            if not self._fleet.is_ending:
                self._fleet.stop()

    def raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault
