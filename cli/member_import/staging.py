"""The stage: a file's rows in the order in which they are seated, by account and then by line.

Sorting puts everybody of one account together, so that accounts are locked briefly and always in one
order. It is done on disk, in a scratch file, and by the file alone: the same file gives the same order, and
an import that was killed finds its place again.
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
CREATE TABLE seatings (
    account_id TEXT, member_id TEXT, line INTEGER, bytes INTEGER, facts TEXT,
    PRIMARY KEY (account_id, member_id)
) WITHOUT ROWID;
CREATE TABLE rejects (line INTEGER PRIMARY KEY, reason TEXT, given TEXT);
"""
_SORT = "CREATE INDEX by_account ON seatings (account_id, line)"
_NEXT = """
SELECT line, bytes, facts FROM seatings WHERE (account_id, line) > (?, ?) ORDER BY account_id, line LIMIT ?
"""
_REJECTS = """
SELECT rejects.line, reason, given, facts FROM rejects LEFT JOIN seatings ON seatings.line = rejects.line
ORDER BY rejects.line
"""
_BEFORE_ALL = ("", 0)
_PAGE = 1000


class Watcher(Protocol):
    """Whoever wants to see how many bytes of the file are done."""

    def __call__(self, done: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Staged:
    """A row to be seated, and its share of the file's bytes."""

    line: int
    size: int
    row: MemberRow

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands in the order."""
        return self.row.account_id, self.line


@dataclass(frozen=True, slots=True)
class Reject:
    """A bad row: `cells` are what the file holds there, in the order of its columns."""

    line: int
    reason: str
    cells: Sequence[object]


class Staging(ScratchFile):
    """A file, read to its end: good rows in their order, bad ones with their reasons."""

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
        """Read the file; raises `ImportRefused` where it is none of members."""
        with open_tape(path) as tape:
            self._scratch.execute("BEGIN")
            read = 0
            for entry in entries(tape):
                self._take(entry, tape.passed - read)
                read = tape.passed
                watch(read)
            self._scratch.execute("COMMIT")
            self._scratch.execute(_SORT)
            self.columns = tape.columns
            self.digest, self.unit = tape.digest, "object" if is_json(path.name) else "line"

    def after(self, place: tuple[str, int] | None, limit: int) -> Sequence[Staged]:
        """The rows that come next in the order."""
        found = self._scratch.execute(_NEXT, (*(place or _BEFORE_ALL), limit))
        return [Staged(line, size, MemberRow.model_validate_json(facts)) for line, size, facts in found]

    def all(self) -> Iterator[Staged]:
        """Every row in the order."""
        place = None
        while page := self.after(place, _PAGE):
            yield from page
            place = page[-1].place

    def reject(self, line: int, reason: str, given: Sequence[object] | None = None) -> None:
        """Note a bad row, once. `given` is None for a row that is staged."""
        kept = None if given is None else json.dumps(given)
        self._scratch.execute("INSERT OR IGNORE INTO rejects VALUES (?, ?, ?)", (line, reason, kept))

    def rejects(self) -> Iterator[Reject]:
        """The bad rows by line."""
        for line, reason, given, facts in self._scratch.execute(_REJECTS):
            yield Reject(line, reason, json.loads(given) if given else self._cells(json.loads(facts)))

    def _cells(self, facts: Mapping[str, object]) -> Sequence[object]:
        return [facts.get(name) for name in self.columns]

    def count_rejects(self) -> int:
        (count,) = self._scratch.execute("SELECT count(*) FROM rejects").fetchone()
        return int(count)

    def _take(self, entry: Entry, size: int) -> None:
        if entry.problem is not None:
            return self.reject(entry.line, entry.problem + entry.span, entry.given)
        try:
            row = check(entry.cells)
        except BadRow as bad:
            return self.reject(entry.line, str(bad) + entry.span, entry.given)
        facts = row.model_dump_json()
        placed = (row.account_id, row.member_id, entry.line, size, facts)
        if self._scratch.execute("INSERT OR IGNORE INTO seatings VALUES (?, ?, ?, ?, ?)", placed).rowcount:
            self.rows += 1
            self.roles[row.role] += 1
            self.bytes += size
            return None
        return self._meet_again(entry, row, facts)

    def _meet_again(self, entry: Entry, row: MemberRow, facts: str) -> None:
        """A member who stood there before: with the same values a repetition, with others a mistake."""
        first, before = self._scratch.execute(
            "SELECT line, facts FROM seatings WHERE account_id = ? AND member_id = ?",
            (row.account_id, row.member_id),
        ).fetchone()
        if before == facts:
            self.repeated += 1
        else:
            self.reject(entry.line, f"the member stands at {first} already, with other values", entry.given)
