"""Writes the output of the demo's processes to a file, and keeps the last lines of each."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TextIO

_MAX_LINES: Final = 15


class ProcessLog:
    """The callback `on_line` of the supervisor."""

    def __init__(self, stream: TextIO, on_restart: Callable[[str], None]) -> None:
        """`on_restart` is called with a message when a process ended by itself and will be restarted."""
        self._stream = stream
        self._on_restart = on_restart
        self._last: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_MAX_LINES))

    def __call__(self, name: str, line: str) -> None:
        self._stream.write(f"{datetime.now(UTC).astimezone():%H:%M:%S} {name:<9} | {line}\n")
        self._stream.flush()
        self._last[name].append(line)
        if line.startswith("ended ") and ", starts again in " in line:
            self._on_restart(f"{name} {line}")

    def last_lines(self, name: str) -> str:
        """The last lines of a process, indented."""
        return "\n".join(f"  {line}" for line in self._last[name])
