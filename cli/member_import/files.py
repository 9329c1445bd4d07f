"""Files of members: CSV and JSON, read piece by piece whatever their size."""

from __future__ import annotations

import codecs
import csv
import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from itertools import chain, zip_longest
from pathlib import Path
from typing import Final

from ijson import JSONError
from ijson.backends.python import basic_parse
from ijson.common import ObjectBuilder

from cli.member_import.rows import COLUMNS, REQUIRED
from domain.errors import SeatSyncError

LONGEST_ROW: Final = 1024 * 1024
# A quote that is never closed would swallow the rest of the file as one cell; this much of it is enough.
_LONGEST_CELL: Final = 8 * 1024
_OPEN_QUOTE: Final = "is a quote left open?"
_BLANKS: Final = b" \t\r\n"
_DELIMITERS: Final = (",", ";", "\t")
_DEEPEST: Final = 16  # levels of JSON; a member's object is the second

# What a file of rejects has before its rows: such a file can be corrected and imported as it is.
REJECT_COLUMNS: Final = ("line", "reason")


class ImportRefused(SeatSyncError):
    """The file as a whole can't be imported; nothing was written."""

    code = "import_refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the file: its cells by column, or what makes it unreadable.

    `line` and `last` are where it begins and ends in a CSV file, in JSON which object of the array it is.
    `given` is what the row holds, in the order of the file's columns.
    """

    line: int
    last: int
    cells: Mapping[str, object]
    problem: str | None = None
    given: Sequence[object] = ()

    @property
    def span(self) -> str:
        """What a problem's words end with where the row stands in several lines."""
        return f" (lines {self.line} to {self.last})" if self.last > self.line else ""


class Tape:
    """A file's bytes on their way to a parser, counted and hashed as they pass."""

    def __init__(self, file: BufferedReader, name: str) -> None:
        self._file = file
        self._text = TextIOWrapper(file, "utf-8", "surrogateescape", newline=_line_end(file))
        self._hash = hashlib.sha256()
        self._row_began = 0
        self.name = name
        self.passed = 0
        self.lines = 0
        self.columns: Sequence[str] = COLUMNS

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
        while line := self._text.readline(LONGEST_ROW + 1):
            self._pass(line.encode("utf-8", "surrogateescape"))
            self.lines += 1
            yield line

    def _pass(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        self.passed += len(piece)
        if self.passed - self._row_began > LONGEST_ROW:
            raise ImportRefused(f"{self.name}: a row is longer than {LONGEST_ROW} bytes; no member is.")
        return piece


def _line_end(file: BufferedReader) -> str:
    """What the lines end with: a carriage return alone if the first one does, as in files of old programs."""
    head = file.peek()
    first = min((at for at in (head.find(b"\r"), head.find(b"\n")) if at >= 0), default=0)
    return "\r" if head[first : first + 1] == b"\r" and head[first + 1 : first + 2] != b"\n" else "\n"


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
    lines = iter(tape)
    first = next(lines, "")
    rows = csv.reader(chain([first], lines), strict=True, delimiter=max(_DELIMITERS, key=first.count))
    try:
        header = _header(tape, next(rows, []))
    except csv.Error as error:
        raise ImportRefused(f"{tape.name}, line 1: {_in_words(error)}.") from None
    while (entry := _next_entry(tape, rows, header)) is not None:
        tape.row_ends()
        if entry.problem or any(entry.given):
            yield entry


def _next_entry(tape: Tape, rows: Iterator[list[str]], header: Sequence[str]) -> Entry | None:
    """The row that begins in the next line; a blank one is without a problem. None at the end."""
    line = tape.lines + 1
    try:
        cells = next(rows, None)
    except csv.Error as error:
        return Entry(line, tape.lines, {}, f"cannot be read: {_in_words(error)}; {_OPEN_QUOTE}")
    if cells is None:
        return None
    placed = [(name, cell.strip()) for name, cell in zip_longest(header, cells, fillvalue="")]
    given = [cell for name, cell in placed if name not in REJECT_COLUMNS]
    known = {name: cell for name, cell in placed if name in COLUMNS}
    return Entry(line, tape.lines, known, _problem(header, cells) if any(given) else None, given)


def _problem(header: Sequence[str], cells: Sequence[str]) -> str | None:
    """Why cells that are not all empty are no row of the file; None if they are one."""
    if len(cells) < len(header) or any(map(str.strip, cells[len(header) :])):
        return f"has {len(cells)} cells where the header has {len(header)}"
    named = list(zip(header, cells, strict=False))
    if torn := [name for name, cell in named if name in COLUMNS and ("\n" in cell or "\r" in cell)]:
        return f"{' and '.join(torn)} {'holds' if len(torn) == 1 else 'hold'} a line end; {_OPEN_QUOTE}"
    if nameless := [str(number) for number, (name, cell) in enumerate(named, 1) if cell.strip() and not name]:
        return f"has a value in column {nameless[0]}, which has no name"
    return None


def _in_words(error: csv.Error) -> str:
    said = str(error)
    if "field limit" in said:
        return f"a cell is longer than {_LONGEST_CELL} characters"
    if "new-line" in said:
        return "a carriage return stands in a cell without quotes"
    return "text follows a quote" if "expected after" in said else "the file ends within quotes"


def _header(tape: Tape, cells: Sequence[str]) -> Sequence[str]:
    """The columns in small letters, without those at the end that have no name and have to be empty."""
    names = [cell.strip().lower().replace(" ", "_") for cell in cells]
    while names and not names[-1]:
        names.pop()
    named = [name for name in names if name and name not in REJECT_COLUMNS]
    _check_names(f"{tape.name}, line 1", named, Counter(named))
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ImportRefused(f"{tape.name}, line 1: missing columns: {', '.join(missing)}. {_allowed()}")
    tape.row_ends()
    tape.columns = [name for name in names if name not in REJECT_COLUMNS]
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
    number = 0
    try:
        for number, found in enumerate(_elements(tape), 1):
            tape.row_ends()
            yield _object(tape, number, found)
    except (JSONError, ValueError):
        raise ImportRefused(f"{tape.name} is no JSON behind object {number}.") from None


def _elements(tape: Tape) -> Iterator[object]:
    """What the array holds, one by one. Of the parsers only the one in Python shows half of a surrogate pair,
    which is no text, as what it is; the others put a question mark in its place.
    """
    builder, depth = ObjectBuilder(), 0
    for event, value in basic_parse(_array(tape), use_float=True):
        depth += event.startswith("start_") - event.startswith("end_")
        if depth > _DEEPEST:
            raise ImportRefused(f"{tape.name} is nested deeper than {_DEEPEST} levels; no member is.")
        if (depth, event) == (1, "start_array") or not depth:
            continue
        builder.event(event, value)
        if depth == 1:
            yield builder.value
            builder = ObjectBuilder()


def _object(tape: Tape, number: int, found: object) -> Entry:
    if not isinstance(found, dict):
        return Entry(number, number, {}, "is no object")
    _check_names(f"{tape.name}, object {number}", found.keys() - set(REJECT_COLUMNS), {})
    known = {name: found[name] for name in COLUMNS if name in found}
    return Entry(number, number, known, given=[found.get(name) for name in COLUMNS])


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
