"""What the demo's processes write: all of it into a file, the last lines also into memory."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TextIO

_LAST: Final = 15


class ProcessLog:
    """The supervisor's `on_line`."""

    def __init__(self, stream: TextIO, on_restart: Callable[[str], None]) -> None:
        """`on_restart` is told of every process that ended by itself, in words."""
        self._stream = stream
        self._on_restart = on_restart
        self._last: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_LAST))

    def __call__(self, name: str, line: str) -> None:
        self._stream.write(f"{datetime.now(UTC).astimezone():%H:%M:%S} {name:<9} | {line}\n")
        self._stream.flush()
        self._last[name].append(line)
        if line.startswith("ended ") and ", starts again in " in line:
            self._on_restart(f"{name} {line}")

    def last_lines(self, name: str) -> str:
        return "\n".join(f"  {line}" for line in self._last[name])
