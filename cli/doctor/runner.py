"""Runs the groups of checks in parallel: one that fails or hangs does not stop the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from cli.doctor.result import Level, Result
from domain.errors import SeatSyncError
from runtime.wiring import Runtime

Check = Callable[[Runtime], Iterator[Result]]


class _Run:
    """One group of checks in its own daemon thread, which is abandoned if it hangs."""

    def __init__(self, name: str, check: Check, runtime: Runtime) -> None:
        self._name = name
        self._check = check
        self._runtime = runtime
        self._found: list[Result] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def results(self, until: float) -> list[Result]:
        """The results when the group is done, or those so far when the monotonic clock reaches `until`."""
        self._thread.join(max(until - time.monotonic(), 0.0))
        found = list(self._found)
        if self._thread.is_alive():
            advice = "Follow the advice of the other checks, then run this again."
            found.append(Result(Level.FAILURE, self._name, "The check did not finish in time.", advice))
        return found

    def _run(self) -> None:
        try:
            for result in self._check(self._runtime):
                self._found.append(result)
        except Exception as error:  # noqa: BLE001  the other groups go on
            self._found.append(self._broken(error))

    def _broken(self, error: Exception) -> Result:
        """Only our own error messages are shown: those of libraries may contain URLs with passwords."""
        text = error.message if isinstance(error, SeatSyncError) else type(error).__name__
        advice = (
            "Follow the advice of the other checks. If there is none, report this with your release number."
        )
        return Result(Level.FAILURE, self._name, f"The check failed: {text}", advice)


def run_checks(checks: Mapping[str, Check], runtime: Runtime, *, seconds: float) -> list[Result]:
    """Run all groups in parallel and return their results in order, after `seconds` at most."""
    until = time.monotonic() + seconds
    runs = [_Run(name, check, runtime) for name, check in checks.items()]
    return [result for run in runs for result in run.results(until)]
