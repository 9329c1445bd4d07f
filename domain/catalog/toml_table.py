"""Read TOML tables: every wrong value is recorded as a mistake with its place, and reading continues."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Final, TypeVar

from domain.catalog.toml_lines import Path, dotted, key_lines
from domain.errors import CatalogError, Mistake

Default = TypeVar("Default")

_SYNTAX_ERROR: Final = re.compile(r"(?P<problem>.*) \(at (?P<place>line \d+, column \d+|end of document)\)")
_END: Final = "end of document"
_BYTE_ORDER_MARK: Final = "\ufeff"
_TOO_LONG: Final = "Exceeds the limit"  # how Python begins when a number has thousands of digits
_TWICE: Final = "Cannot "  # how tomllib begins when a key or table stands twice
_KINDS: Final[tuple[tuple[type, str], ...]] = (  # subclasses before their bases
    (bool, "a boolean"),
    (int, "a whole number"),
    (float, "a decimal number"),
    (str, "a string"),
    (datetime, "a date with a time"),
    (date, "a date"),
    (time, "a time"),
)
_MOST_SHOWN: Final = 60


def read(text: str, source: str) -> Table:
    """The text as one table, without a byte order mark. Raises `CatalogError` if it is not valid TOML."""
    text = text.removeprefix(_BYTE_ORDER_MARK)
    try:
        return Table((), tomllib.loads(text), Mistakes(key_lines(text)))
    except ValueError as error:
        raise CatalogError(source, [_syntax_mistake(text, str(error))]) from error
    except RecursionError:
        raise CatalogError(source, [Mistake("top level", "tables or lists are nested too deeply.")]) from None


def _syntax_mistake(text: str, message: str) -> Mistake:
    if message.startswith(_TOO_LONG):
        return Mistake("top level", "not valid TOML: a number has too many digits.")
    match = _SYNTAX_ERROR.fullmatch(message)
    place, problem = (match["place"], match["problem"]) if match else ("top level", message)
    if place == _END:
        last_line = text.rstrip().count("\n") + 1
        place = f"line {last_line}, {_END}"
    if problem.startswith(_TWICE):
        problem += ": the same key or table stands twice"
    return Mistake(place, f"not valid TOML: {problem}.")


def suggestion(word: str, known: Collection[str]) -> str:
    """` Did you mean 'soft'?`, or an empty text if no known word is similar."""
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def shown(value: object) -> str:
    """A value of the file and its type: `'5' is a string`."""
    if isinstance(value, dict | list):
        return "this is a table" if isinstance(value, dict) else "this is a list"
    kind = next(kind for cls, kind in _KINDS if isinstance(value, cls))
    return f"{_clipped(value)} is {kind}"


def _clipped(value: object) -> str:
    literal = repr(value) if isinstance(value, str) else str(value)
    literal = literal.lower() if isinstance(value, bool) else literal
    return literal if len(literal) <= _MOST_SHOWN else f"{literal[:_MOST_SHOWN]}…"


class Mistakes:
    """The mistakes in one file, each with its line and path."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self._lines = lines
        self._found: list[tuple[int, Mistake]] = []
        self._paths: set[Path] = set()

    def __contains__(self, path: Path) -> bool:
        return path in self._paths

    def add(self, path: Path, problem: str) -> None:
        """Add a mistake. If the path does not exist, the line of the nearest enclosing table is used."""
        line = next((self._lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._lines), 0)
        place = dotted(path) or "top level"
        self._paths.add(path)
        self._found.append((line, Mistake(f"line {line}, {place}" if line else place, problem)))

    def in_order(self) -> tuple[Mistake, ...]:
        """All mistakes, in the order of the file."""
        return tuple(mistake for _, mistake in sorted(self._found, key=lambda found: found[0]))


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file. For a key that is absent or wrong, the methods return the default."""

    path: Path
    values: Mapping[str, object]
    mistakes: Mistakes = field(repr=False)

    def __contains__(self, key: object) -> bool:
        return key in self.values

    def wrong(self, key: str, problem: str) -> None:
        """Add a mistake at a key of this table."""
        self.mistakes.add((*self.path, key), problem)

    def only(self, *known: str) -> None:
        """Add a mistake for every key that is not among the known ones."""
        for key in self.values:
            if key not in known:
                self.wrong(key, f"unknown key; known here: {', '.join(known)}.{suggestion(key, known)}")

    def require(self, key: str, meaning: str) -> None:
        """Add a mistake if a key of this table is missing. `meaning` explains the key."""
        if key not in self and self.path not in self.mistakes:
            self.wrong(key, f"{key} is missing: {meaning}.")

    def table(self, key: str, *, such_as: str) -> Table:
        """The table at the key; an empty one if there is none."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.wrong(key, f"{key} must be a table such as {such_as}; {shown(value)}.")
            value = {}
        return Table((*self.path, key), value, self.mistakes)

    def text(
        self, key: str, default: Default, *, what: str = "a non-empty string", may_be_empty: bool = False
    ) -> str | Default:
        """The string at the key; `what` describes the expected value in the message."""
        value = self.values.get(key)
        if isinstance(value, str) and (value.strip() or may_be_empty):
            return value
        if key in self:
            self.wrong(key, f"{key} must be {what}; {shown(value)}.")
        return default

    def choice(self, key: str, default: Default, *, allowed: Collection[str]) -> str | Default:
        """The string at the key, which must be one of the allowed ones."""
        value = self.values.get(key)
        if isinstance(value, str) and value in allowed:
            return value
        if key in self:
            words = f"{key} must be one of {', '.join(allowed)}"
            if isinstance(value, str):
                self.wrong(key, f"{words}; {_clipped(value)} is not.{suggestion(value, allowed)}")
            else:
                self.wrong(key, f"{words}; {shown(value)}.")
        return default

    def number(
        self, key: str, default: Default, *, least: int = 0, most: int, or_else: str = ""
    ) -> int | Default:
        """The whole number at the key, from `least` to `most`; booleans are not numbers.

        `or_else` names another allowed value in the message.
        """
        value = self.values.get(key)
        if type(value) is int and least <= value <= most:
            return value
        if key in self:
            got = f"{_clipped(value)} is not" if type(value) is int else shown(value)
            self.wrong(key, f"{key} must be a whole number from {least} to {most}{or_else}; {got}.")
        return default

    def order(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """The list at the key, which must name each of the default's words once, in any order."""
        value = self.values.get(key)
        if isinstance(value, list) and sorted(map(repr, value)) == sorted(map(repr, default)):
            return tuple(value)
        if key in self:
            self.wrong(key, f"{key} must be a list that names each of {', '.join(default)} once.")
        return default

    def flag(self, key: str, default: bool) -> bool:
        """The boolean at the key."""
        value = self.values.get(key)
        if isinstance(value, bool):
            return value
        if key in self:
            self.wrong(key, f"{key} must be true or false; {shown(value)}.")
        return default

    def day(self, key: str) -> date | None:
        """The date at the key."""
        value = self.values.get(key)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        if key in self:
            hint = ", without a time and without quotation marks"
            self.wrong(key, f"{key} must be a date such as 2026-01-31{hint}; {shown(value)}.")
        return None
