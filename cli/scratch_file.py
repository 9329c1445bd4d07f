"""A scratch database in a file, for commands that put more in order than fits into memory."""

from __future__ import annotations

import sqlite3
from typing import Final, Self

# The file is never read again, so nothing need be safe against a crash.
_PRAGMAS: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
"""


class ScratchFile:
    """An SQLite database with these tables in the temporary folder. The file has no name, nobody else can
    open it, and it is gone at the end of the block or of the process.
    """

    def __init__(self, tables: str) -> None:
        # SQLite opens such a file for an empty name, and deletes it at once.
        self._scratch = sqlite3.connect("", isolation_level=None)
        self._scratch.executescript(_PRAGMAS + tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()
