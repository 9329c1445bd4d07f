"""The machine the benchmarks run on: its description, and how busy other programs keep it meanwhile."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import psutil

_FLUSHES = 100


class OtherPrograms:
    """Measures the CPU time used by programs that do not belong to the benchmark."""

    def __init__(self) -> None:
        self._cores = psutil.cpu_count() or 1
        self._last = self._sample()

    def share(self) -> float:
        """Their share of all cores since the last call, 0 to 1."""
        before, self._last = self._last, self._sample()
        seconds, busy, ours = (now - was for now, was in zip(self._last, before, strict=True))
        return max(0.0, busy - ours) / (seconds * self._cores)

    def _sample(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # already part of user
        return time.perf_counter(), sum(times) - guest - idle, _own_cpu_seconds()


def _own_cpu_seconds() -> float:
    """CPU seconds of this process and its descendants, including those that have ended."""
    seconds = 0.0
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        try:
            seconds += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return seconds


def described(folder: Path) -> str:
    """One line: number of cores, Python version, and the time of one fdatasync in the folder."""
    return (
        f"{psutil.cpu_count()} cores, Python {platform.python_version()}, fdatasync {_flush(folder):.2f} ms"
    )


def _flush(folder: Path) -> float:
    """Median time in milliseconds to make 8 KiB durable in the folder."""
    path = folder / "flushed"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    seconds = []
    try:
        for n in range(_FLUSHES):
            os.pwrite(descriptor, b"\0" * 8192, n * 8192)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            seconds.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(seconds) * 1000
