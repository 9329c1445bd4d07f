"""Reads the rows of CSV and JSON files as a stream, so that a file of any size can be imported."""

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

MAX_ROW_BYTES: Final = 1024 * 1024
# An unclosed quote would make the rest of the file one cell; this limits how much of it is read.
_MAX_CELL: Final = 8 * 1024
_OPEN_QUOTE: Final = "is a quote not closed?"
_WHITESPACE: Final = b" \t\r\n"
_DELIMITERS: Final = (",", ";", "\t")
_MAX_DEPTH: Final = 16  # levels of JSON; a member is an object at the second level

# The first columns of a file of rejected rows. They are ignored, so that it can be corrected and imported.
REJECT_COLUMNS: Final = ("line", "reason")


class ImportRefused(SeatSyncError):
    """The file as a whole cannot be imported; nothing was written."""

    code = "import_refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the file: its cells by column, or the problem that makes it unreadable.

    `line` and `last` are its first and last line in a CSV file; in a JSON file, both are the number of the
    object in the array. `given` has the values of the row in the order of the file's columns.
    """

    line: int
    last: int
    cells: Mapping[str, object]
    problem: str | None = None
    given: Sequence[object] = ()

    @property
    def span(self) -> str:
        """` (lines 2 to 4)` if the row has several lines, to be appended to a problem; otherwise empty."""
        return f" (lines {self.line} to {self.last})" if self.last > self.line else ""


class Tape:
    """Feeds a file to a parser, and counts and hashes the bytes that are read."""

    def __init__(self, file: BufferedReader, name: str) -> None:
        self._file = file
        self._text = TextIOWrapper(file, "utf-8", "surrogateescape", newline=_line_end(file))
        self._hash = hashlib.sha256()
        self._row_start = 0
        self.name = name
        self.passed = 0
        self.lines = 0
        self.columns: Sequence[str] = COLUMNS

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes read so far, in hexadecimal."""
        return self._hash.hexdigest()

    def end_row(self) -> None:
        """Start counting the bytes of the next row."""
        self._row_start = self.passed

    def read(self, size: int = -1) -> bytes:
        """The next bytes, for ijson."""
        return self._count(self._file.read(size))

    def __iter__(self) -> Iterator[str]:
        """The lines, for csv. Bytes that are not UTF-8 become surrogates, which cells may not contain."""
        while line := self._text.readline(MAX_ROW_BYTES + 1):
            self._count(line.encode("utf-8", "surrogateescape"))
            self.lines += 1
            yield line

    def _count(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        self.passed += len(piece)
        if self.passed - self._row_start > MAX_ROW_BYTES:
            raise ImportRefused(
                f"{self.name}: a row is longer than {MAX_ROW_BYTES} bytes. Check that quotes are closed."
            )
        return piece


def _line_end(file: BufferedReader) -> str:
    """The line end: a carriage return if the first line ends with only that (files of old programs)."""
    head = file.peek()
    first = min((at for at in (head.find(b"\r"), head.find(b"\n")) if at >= 0), default=0)
    return "\r" if head[first : first + 1] == b"\r" and head[first + 1 : first + 2] != b"\n" else "\n"


@contextmanager
def open_tape(path: Path) -> Iterator[Tape]:
    """Open the file; a UTF-8 byte order mark is skipped. Raises `ImportRefused` for UTF-16."""
    with path.open("rb") as file:
        head = file.read(len(codecs.BOM_UTF8))
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ImportRefused(f"{path.name} is UTF-16. Save it as UTF-8.")
        if head != codecs.BOM_UTF8:
            file.seek(0)
        yield Tape(file, path.name)


def entries(tape: Tape) -> Iterator[Entry]:
    """The rows of the file in their order. Raises `ImportRefused` if it is not a file of members."""
    return _json_entries(tape) if is_json(tape.name) else _csv_entries(tape)


def is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _csv_entries(tape: Tape) -> Iterator[Entry]:
    csv.field_size_limit(_MAX_CELL)
    lines = iter(tape)
    first = next(lines, "")
    rows = csv.reader(chain([first], lines), strict=True, delimiter=max(_DELIMITERS, key=first.count))
    try:
        header = _header(tape, next(rows, []))
    except csv.Error as error:
        raise ImportRefused(f"{tape.name}, line 1: {_csv_problem(error)}.") from None
    while (entry := _next_entry(tape, rows, header)) is not None:
        tape.end_row()
        if entry.problem or any(entry.given):
            yield entry


def _next_entry(tape: Tape, rows: Iterator[list[str]], header: Sequence[str]) -> Entry | None:
    """The row that begins in the next line; a blank row has no problem. None at the end of the file."""
    line = tape.lines + 1
    try:
        cells = next(rows, None)
    except csv.Error as error:
        return Entry(line, tape.lines, {}, f"cannot be read: {_csv_problem(error)}; {_OPEN_QUOTE}")
    if cells is None:
        return None
    placed = [(name, cell.strip()) for name, cell in zip_longest(header, cells, fillvalue="")]
    given = [cell for name, cell in placed if name not in REJECT_COLUMNS]
    known = {name: cell for name, cell in placed if name in COLUMNS}
    return Entry(line, tape.lines, known, _problem(header, cells) if any(given) else None, given)


def _problem(header: Sequence[str], cells: Sequence[str]) -> str | None:
    """What is wrong with the cells of a row that is not blank; None if nothing is."""
    if len(cells) < len(header) or any(map(str.strip, cells[len(header) :])):
        return f"has {len(cells)} cells where the header has {len(header)}"
    named = list(zip(header, cells, strict=False))
    if broken := [name for name, cell in named if name in COLUMNS and ("\n" in cell or "\r" in cell)]:
        verb = "contains" if len(broken) == 1 else "contain"
        return f"{' and '.join(broken)} {verb} a line break; {_OPEN_QUOTE}"
    if unnamed := [str(number) for number, (name, cell) in enumerate(named, 1) if cell.strip() and not name]:
        return f"has a value in column {unnamed[0]}, which has no name"
    return None


def _csv_problem(error: csv.Error) -> str:
    """The csv module's error in words for users."""
    text = str(error)
    if "field limit" in text:
        return f"a cell is longer than {_MAX_CELL} characters"
    if "new-line" in text:
        return "a cell without quotes contains a carriage return"
    return "text follows a closing quote" if "expected after" in text else "the file ends within quotes"


def _header(tape: Tape, cells: Sequence[str]) -> Sequence[str]:
    """The column names in lower case. Unnamed columns at the end are dropped; they have to be empty."""
    names = [cell.strip().lower().replace(" ", "_") for cell in cells]
    while names and not names[-1]:
        names.pop()
    named = [name for name in names if name and name not in REJECT_COLUMNS]
    _check_names(f"{tape.name}, line 1", named, Counter(named))
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ImportRefused(f"{tape.name}, line 1: missing columns: {', '.join(missing)}. {_allowed()}")
    tape.end_row()
    tape.columns = [name for name in names if name not in REJECT_COLUMNS]
    return names


def _check_names(place: str, names: Collection[str], counted: Mapping[str, int]) -> None:
    unknown = [repr(name) for name in names if name not in COLUMNS]
    if unknown:
        raise ImportRefused(f"{place}: unknown columns: {', '.join(unknown)}. {_allowed()}")
    twice = [name for name in counted if counted[name] > 1]
    if twice:
        raise ImportRefused(f"{place}: repeated columns: {', '.join(twice)}.")


def _allowed() -> str:
    optional = (name for name in COLUMNS if name not in REQUIRED)
    return f"Required: {', '.join(REQUIRED)}. Optional: {', '.join(optional)}."


def _json_entries(tape: Tape) -> Iterator[Entry]:
    number = 0
    try:
        for number, found in enumerate(_elements(tape), 1):
            tape.end_row()
            yield _object(tape, number, found)
    except (JSONError, ValueError):
        raise ImportRefused(f"{tape.name} is not valid JSON after object {number}.") from None


def _elements(tape: Tape) -> Iterator[object]:
    """The elements of the array, one by one. Uses the Python parser, because the C parsers replace half of a
    surrogate pair (which is not text) by a question mark instead of passing it on.
    """
    builder, depth = ObjectBuilder(), 0
    for event, value in basic_parse(_array(tape), use_float=True):
        depth += event.startswith("start_") - event.startswith("end_")
        if depth > _MAX_DEPTH:
            raise ImportRefused(
                f"{tape.name} is nested deeper than {_MAX_DEPTH} levels. It must be an array of objects."
            )
        if (depth, event) == (1, "start_array") or not depth:
            continue
        builder.event(event, value)
        if depth == 1:
            yield builder.value
            builder = ObjectBuilder()


def _object(tape: Tape, number: int, found: object) -> Entry:
    if not isinstance(found, dict):
        return Entry(number, number, {}, "is not an object")
    _check_names(f"{tape.name}, object {number}", found.keys() - set(REJECT_COLUMNS), {})
    known = {name: found[name] for name in COLUMNS if name in found}
    return Entry(number, number, known, given=[found.get(name) for name in COLUMNS])


class _Array:
    """A tape from which the first byte was read already."""

    def __init__(self, head: bytes, tape: Tape) -> None:
        self._head = head
        self._tape = tape

    def read(self, size: int = -1) -> bytes:
        if not size:
            return b""
        head, self._head = self._head, b""
        return head or self._tape.read(size)


def _array(tape: Tape) -> _Array:
    """The tape from the start of the array. Raises `ImportRefused` if the file does not start with one."""
    head = tape.read(1)
    while head and head in _WHITESPACE:
        head = tape.read(1)
    if head != b"[":
        raise ImportRefused(f"{tape.name}: a JSON file must contain an array of objects: [{{...}}, ...].")
    return _Array(head, tape)
