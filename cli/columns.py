"""Formats tables as plain lines, identical on terminals and in files: nothing is cut or wrapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

_GAP: Final = "  "


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """One line per row, with aligned columns. All rows must have the same number of cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _GAP.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def printable(text: str) -> str:
    """The text with all non-printable characters escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
