"""Files of members: CSV and JSON, read piece by piece whatever their size."""

from __future__ import annotations

import codecs
import csv
import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import ijson

from cli.importing.rows import COLUMNS, REQUIRED
from seats.errors import SeatSyncError

LONGEST_ROW: Final = 1024 * 1024
# A quote that is never closed would swallow the rest of the file as one cell; this much of it is enough.
_LONGEST_CELL: Final = 8 * 1024
_OPEN_QUOTE: Final = "is a quote left open?"
_BLANKS: Final = b" \t\r\n"


class ImportRefused(SeatSyncError):
    """The file as a whole can't be imported; nothing was written."""

    code = "import_refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the file: its cells by column, or what makes it unreadable.

    `line` and `last` are where it begins and ends in a CSV file, in JSON which object of the array it is.
    """

    line: int
    last: int
    cells: Mapping[str, object]
    problem: str | None = None

    @property
    def span(self) -> str:
        """What a problem's words end with where the row stands in several lines."""
        return f" (lines {self.line} to {self.last})" if self.last > self.line else ""


class Tape:
    """A file's bytes on their way to a parser, counted and hashed as they pass."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._row_began = 0
        self.name = name
        self.passed = 0
        self.lines = 0

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def row_ends(self) -> None:
        """What follows belongs to the next row."""
        self._row_began = self.passed

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as ijson asks for them."""
        return self._pass(self._file.read(size))

    def __iter__(self) -> Iterator[str]:
        """The lines, as csv asks for them. What is no UTF-8 comes as surrogates, which no cell may hold."""
        while line := self._pass(self._file.readline(LONGEST_ROW + 1)):
            self.lines += 1
            yield line.decode("utf-8", "surrogateescape")

    def _pass(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        self.passed += len(piece)
        if self.passed - self._row_began > LONGEST_ROW:
            raise ImportRefused(f"{self.name}: a row is longer than {LONGEST_ROW} bytes; no member is.")
        return piece


@contextmanager
def open_tape(path: Path) -> Iterator[Tape]:
    """The file from its first byte, past a byte order mark."""
    with path.open("rb") as file:
        head = file.read(len(codecs.BOM_UTF8))
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ImportRefused(f"{path.name} is UTF-16; save it as UTF-8.")
        if head != codecs.BOM_UTF8:
            file.seek(0)
        yield Tape(file, path.name)


def entries(tape: Tape) -> Iterator[Entry]:
    """The file's rows in their order; raises `ImportRefused` for a file that is none of members."""
    return _json_entries(tape) if is_json(tape.name) else _csv_entries(tape)


def is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _csv_entries(tape: Tape) -> Iterator[Entry]:
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(tape, strict=True)
    try:
        header = _header(tape, next(rows, []))
    except csv.Error as error:
        raise ImportRefused(f"{tape.name}, line 1: {error}.") from None
    while (entry := _next_entry(tape, rows, header)) is not None:
        tape.row_ends()
        if entry.cells or entry.problem:
            yield entry


def _next_entry(tape: Tape, rows: Iterator[list[str]], header: list[str]) -> Entry | None:
    """The row that begins in the next line; a blank line is one without cells. None at the end."""
    line = tape.lines + 1
    try:
        cells = next(rows, None)
    except csv.Error as error:
        return Entry(line, tape.lines, {}, f"cannot be read: {error}; {_OPEN_QUOTE}")
    if cells is None:
        return None
    if cells and len(cells) != len(header):
        return Entry(line, tape.lines, {}, f"has {len(cells)} cells where the header has {len(header)}")
    named = dict(zip(header, cells, strict=False))
    if torn := [name for name, cell in named.items() if "\n" in cell or "\r" in cell]:
        holds = "holds" if len(torn) == 1 else "hold"
        return Entry(line, tape.lines, {}, f"{' and '.join(torn)} {holds} a line end; {_OPEN_QUOTE}")
    return Entry(line, tape.lines, {name: cell.strip() for name, cell in named.items()})


def _header(tape: Tape, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    _check_names(f"{tape.name}, line 1", names, Counter(names))
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ImportRefused(f"{tape.name}, line 1: missing columns: {', '.join(missing)}. {_allowed()}")
    tape.row_ends()
    return names


def _check_names(place: str, names: Collection[str], counted: Mapping[str, int]) -> None:
    unknown = [repr(name) for name in names if name not in COLUMNS]
    if unknown:
        raise ImportRefused(f"{place}: unknown columns: {', '.join(unknown)}. {_allowed()}")
    twice = [name for name in counted if counted[name] > 1]
    if twice:
        raise ImportRefused(f"{place}: columns that stand there twice: {', '.join(twice)}.")


def _allowed() -> str:
    optional = (name for name in COLUMNS if name not in REQUIRED)
    return f"Required are {', '.join(REQUIRED)}; allowed are also {', '.join(optional)}."


def _json_entries(tape: Tape) -> Iterator[Entry]:
    try:
        for number, found in enumerate(ijson.items(_array(tape), "item", use_float=True), 1):
            tape.row_ends()
            yield _object(tape, number, found)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise ImportRefused(f"{tape.name} is no JSON: {str(error).splitlines()[0]}.") from None


def _object(tape: Tape, number: int, found: object) -> Entry:
    if not isinstance(found, dict):
        return Entry(number, number, {}, "is no object")
    _check_names(f"{tape.name}, object {number}", found, {})
    return Entry(number, number, found)


class _Array:
    """A tape that has been looked into."""

    def __init__(self, head: bytes, tape: Tape) -> None:
        self._head = head
        self._tape = tape

    def read(self, size: int = -1) -> bytes:
        if not size:
            return b""
        head, self._head = self._head, b""
        return head or self._tape.read(size)


def _array(tape: Tape) -> _Array:
    """The tape, if what begins there is an array."""
    head = tape.read(1)
    while head and head in _BLANKS:
        head = tape.read(1)
    if head != b"[":
        raise ImportRefused(f"{tape.name}: a JSON file of members is an array of objects: [{{...}}, ...].")
    return _Array(head, tape)
