"""The machine underneath: how much of it other programs take while we measure, and what it is."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import psutil

_FLUSHES = 100


class Others:
    """What programs that are not ours take of the machine."""

    def __init__(self) -> None:
        self._cores = psutil.cpu_count() or 1
        self._then = self._sample()

    def share(self) -> float:
        """Their part of all cores since the last call: 0 is a machine of our own."""
        before, self._then = self._then, self._sample()
        seconds, busy, ours = (now - was for now, was in zip(self._then, before, strict=True))
        return max(0.0, busy - ours) / (seconds * self._cores)

    def _sample(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user already
        return time.perf_counter(), sum(times) - guest - idle, _of_ours()


def _of_ours() -> float:
    """CPU seconds of this process, all that descend from it, and those among them that have ended."""
    seconds = 0.0
    us = psutil.Process()
    for process in [us, *us.children(recursive=True)]:
        try:
            seconds += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return seconds


def described(folder: Path) -> str:
    """Cores, Python, and what it costs to have a page on this disk for certain."""
    return (
        f"{psutil.cpu_count()} cores, Python {platform.python_version()}, fdatasync {_flush(folder):.2f} ms"
    )


def _flush(folder: Path) -> float:
    """The median milliseconds of making 8 KiB durable in the folder."""
    path = folder / "flushed"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    took = []
    try:
        for n in range(_FLUSHES):
            os.pwrite(descriptor, b"\0" * 8192, n * 8192)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            took.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(took) * 1000
