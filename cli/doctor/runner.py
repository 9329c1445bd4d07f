"""Runs the groups of checks side by side: one that breaks or hangs does not stop the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from cli.doctor.result import Level, Result
from domain.errors import SeatSyncError
from runtime.wiring import Runtime

Check = Callable[[Runtime], Iterator[Result]]


class Examination:
    """One group in a thread of its own, which is left behind if it hangs."""

    def __init__(self, name: str, check: Check, runtime: Runtime) -> None:
        self._name = name
        self._check = check
        self._runtime = runtime
        self._found: list[Result] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def results(self, until: float) -> list[Result]:
        """What was found when the group is done, or the monotonic clock reaches `until`."""
        self._thread.join(max(until - time.monotonic(), 0.0))
        found = list(self._found)
        if self._thread.is_alive():
            advice = "See what the other lines say is slow or away, then run this again."
            found.append(Result(Level.FAILURE, self._name, "The check was not done in time.", advice))
        return found

    def _run(self) -> None:
        try:
            for result in self._check(self._runtime):
                self._found.append(result)
        except Exception as error:  # noqa: BLE001  the other groups go on
            self._found.append(self._broken(error))

    def _broken(self, error: Exception) -> Result:
        """The messages of other people's errors may hold addresses and passwords; ours do not."""
        said = error.message if isinstance(error, SeatSyncError) else type(error).__name__
        advice = "See what the other lines say; if they are all well, report this with the release you run."
        return Result(Level.FAILURE, self._name, f"The check broke off: {said}", advice)


def examine(checks: Mapping[str, Check], runtime: Runtime, *, seconds: float) -> list[Result]:
    """The results of all groups, in their order; each has so many seconds, all of them the same ones."""
    until = time.monotonic() + seconds
    begun = [Examination(name, check, runtime) for name, check in checks.items()]
    return [result for examination in begun for result in examination.results(until)]
