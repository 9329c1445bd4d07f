"""Staging area of an import: the rows of a file, sorted by account and then by line.

Sorting keeps the rows of an account together, so that accounts are locked briefly and always in the same
order. It happens on disk, and depends only on the file: the same file always gives the same order, so that an
interrupted import can continue at its place.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cli.member_import.files import Entry, entries, is_json, open_tape
from cli.member_import.rows import BadRow, MemberRow, check
from cli.scratch_file import ScratchFile

_TABLES = """
CREATE TABLE members (
    account_id TEXT, member_id TEXT, line INTEGER, bytes INTEGER, fields TEXT,
    PRIMARY KEY (account_id, member_id)
) WITHOUT ROWID;
CREATE TABLE rejects (line INTEGER PRIMARY KEY, reason TEXT, given TEXT);
"""
_SORT = "CREATE INDEX by_account ON members (account_id, line)"
_NEXT = """
SELECT line, bytes, fields FROM members WHERE (account_id, line) > (?, ?) ORDER BY account_id, line LIMIT ?
"""
_REJECTS = """
SELECT rejects.line, reason, given, fields FROM rejects LEFT JOIN members ON members.line = rejects.line
ORDER BY rejects.line
"""
_BEFORE_FIRST = ("", 0)
_PAGE_SIZE = 1000


class Watcher(Protocol):
    """A callback that gets the number of bytes of the file that are done."""

    def __call__(self, done: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Staged:
    """A row to be imported; `size` is its number of bytes in the file."""

    line: int
    size: int
    row: MemberRow

    @property
    def place(self) -> tuple[str, int]:
        """The position of the row in the sorted order."""
        return self.row.account_id, self.line


@dataclass(frozen=True, slots=True)
class Reject:
    """A rejected row. `cells` are its values as given, in the order of the file's columns."""

    line: int
    reason: str
    cells: Sequence[object]


class Staging(ScratchFile):
    """The rows of a file: valid rows in sorted order, and rejected rows with their reasons.

    Set by `load`: `digest` identifies the file, `unit` is what a position counts (lines, or objects of JSON),
    `rows` and `bytes` count the valid rows, `repeated` the identical repetitions, `roles` the rows per role.
    """

    def __init__(self) -> None:
        super().__init__(_TABLES)
        self.digest = ""
        self.unit = "line"
        self.columns: Sequence[str] = ()
        self.rows = 0
        self.bytes = 0
        self.repeated = 0
        self.roles = Counter[str]()

    def load(self, path: Path, watch: Watcher) -> None:
        """Read the file to its end. Raises `ImportRefused` if it is not a file of members."""
        with open_tape(path) as tape:
            self._scratch.execute("BEGIN")
            read = 0
            for entry in entries(tape):
                self._add(entry, tape.passed - read)
                read = tape.passed
                watch(read)
            self._scratch.execute("COMMIT")
            self._scratch.execute(_SORT)
            self.columns = tape.columns
            self.digest, self.unit = tape.digest, "object" if is_json(path.name) else "line"

    def after(self, place: tuple[str, int] | None, limit: int) -> Sequence[Staged]:
        """At most `limit` rows after `place`; from the first row on if `place` is None."""
        found = self._scratch.execute(_NEXT, (*(place or _BEFORE_FIRST), limit))
        return [Staged(line, size, MemberRow.model_validate_json(fields)) for line, size, fields in found]

    def all(self) -> Iterator[Staged]:
        """All valid rows in sorted order."""
        place = None
        while page := self.after(place, _PAGE_SIZE):
            yield from page
            place = page[-1].place

    def reject(self, line: int, reason: str, given: Sequence[object] | None = None) -> None:
        """Add a rejected row, once. `given` is None for a row that was valid when it was read."""
        stored = None if given is None else json.dumps(given)
        self._scratch.execute("INSERT OR IGNORE INTO rejects VALUES (?, ?, ?)", (line, reason, stored))

    def rejects(self) -> Iterator[Reject]:
        """The rejected rows, ordered by line."""
        for line, reason, given, fields in self._scratch.execute(_REJECTS):
            yield Reject(line, reason, json.loads(given) if given else self._cells(json.loads(fields)))

    def _cells(self, fields: Mapping[str, object]) -> Sequence[object]:
        return [fields.get(name) for name in self.columns]

    def count_rejects(self) -> int:
        (count,) = self._scratch.execute("SELECT count(*) FROM rejects").fetchone()
        return int(count)

    def _add(self, entry: Entry, size: int) -> None:
        if entry.problem is not None:
            return self.reject(entry.line, entry.problem + entry.span, entry.given)
        try:
            row = check(entry.cells)
        except BadRow as bad:
            return self.reject(entry.line, str(bad) + entry.span, entry.given)
        fields = row.model_dump_json()
        values = (row.account_id, row.member_id, entry.line, size, fields)
        if self._scratch.execute("INSERT OR IGNORE INTO members VALUES (?, ?, ?, ?, ?)", values).rowcount:
            self.rows += 1
            self.roles[row.role] += 1
            self.bytes += size
            return None
        return self._add_repeated(entry, row, fields)

    def _add_repeated(self, entry: Entry, row: MemberRow, fields: str) -> None:
        """Handle a second row of a member: with the same values it is ignored, otherwise rejected."""
        first, before = self._scratch.execute(
            "SELECT line, fields FROM members WHERE account_id = ? AND member_id = ?",
            (row.account_id, row.member_id),
        ).fetchone()
        if before == fields:
            self.repeated += 1
        else:
            self.reject(entry.line, f"the member already appears at {first} with other values", entry.given)
