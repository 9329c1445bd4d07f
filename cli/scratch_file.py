"""A temporary database on disk, for commands that sort more data than fits into memory."""

from __future__ import annotations

import sqlite3
from typing import Final, Self

# The file does not survive the process, so it need not be safe against a crash.
_PRAGMAS: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
"""


class ScratchFile:
    """An SQLite database with these tables in the temporary folder. The file has no name, so no other process
    can open it, and it is deleted at the end of the block or of the process.
    """

    def __init__(self, tables: str) -> None:
        # For an empty name, SQLite opens a temporary file and unlinks it at once.
        self._scratch = sqlite3.connect("", isolation_level=None)
        self._scratch.executescript(_PRAGMAS + tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()
