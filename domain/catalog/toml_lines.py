"""Find the line of each key in a TOML text, which tomllib does not report."""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Final

Path = tuple[str, ...]
"""The keys that lead to a value, outermost first."""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_DOT: Final = re.compile(r"[ \t]*\.[ \t]*")
_EQUALS: Final = re.compile(r"[ \t]*=[ \t]*")
_OPENING: Final = re.compile(r"\[\[?[ \t]*")
_CLOSING: Final = re.compile(r"[ \t]*\]\]?")
_GAP: Final = re.compile(r"(?:[\s,]|#[^\n]*)*")
_SCALAR: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|[^,\]}#\n]+",
    re.DOTALL,
)


def dotted(path: Path) -> str:
    """The path as one would write it in the file."""
    return ".".join(key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False) for key in path)


def key_lines(text: str) -> Mapping[Path, int]:
    """The line of the first occurrence of each key, including headers, dotted keys and inline tables.

    The text must be valid TOML.
    """
    return _Scanner(text).scan()


class _Scanner:
    """Finds the keys in order; values are skipped."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
        self._lines: dict[Path, int] = {}

    def scan(self) -> Mapping[Path, int]:
        table: Path = ()
        self._skip(_GAP)
        while self._at < len(self._text):
            if self._is_at("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_GAP)
        return self._lines

    def _header(self) -> Path:
        self._take(_OPENING)
        path = self._key(())
        self._take(_CLOSING)
        return path

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._take(_EQUALS)
        self._value(path)

    def _key(self, table: Path) -> Path:
        line = bisect_right(self._line_starts, self._at)
        path, goes_on = table, True
        while goes_on:
            path = (*path, _unquoted(self._take(_KEY)))
            self._lines.setdefault(path, line)
            goes_on = self._skip(_DOT)
        return path

    def _value(self, path: Path) -> None:
        if self._is_at("{"):
            self._items("}", lambda: self._pair(path))
        elif self._is_at("["):
            self._items("]", lambda: self._value(path))
        else:
            self._take(_SCALAR)

    def _items(self, closing: str, item: Callable[[], None]) -> None:
        self._at += 1
        self._skip(_GAP)
        while not self._is_at(closing):
            item()
            self._skip(_GAP)
        self._at += 1

    def _is_at(self, sign: str) -> bool:
        return self._text.startswith(sign, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return match is not None

    def _take(self, pattern: re.Pattern[str]) -> str:
        start = self._at
        if not self._skip(pattern):
            raise ValueError(f"position {start} is not valid TOML")
        return self._text[start : self._at]


def _unquoted(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else str(tomllib.loads(f"key = {key}")["key"])
