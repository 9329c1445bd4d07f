"""The demo's processes, and the threads that run beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime.supervisor import Supervisor

IsEnding = Callable[[], bool]


class DemoProcesses(Supervisor):
    """A supervisor whose `is_ending` can be read from any thread."""

    is_ending = False

    def stop(self) -> None:
        """Stop all processes. A plain flag is set, because a signal handler may call this at any moment."""
        self.is_ending = True
        super().stop()


class BackgroundThread(threading.Thread):
    """Runs `work` until the processes end. An error in it stops the processes; see `raise_error`."""

    def __init__(self, work: Callable[[IsEnding], None], processes: DemoProcesses) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._processes = processes
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._work(lambda: self._processes.is_ending)
        except Exception as error:  # noqa: BLE001  raised in the main thread by raise_error
            self._error = error
            if not self._processes.is_ending:
                self._processes.stop()

    def raise_error(self) -> None:
        """Raise the error that ended the work, if there was one."""
        if self._error is not None:
            raise self._error
