"""Counted nouns in messages."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 account`, `2 accounts`. `many` is the plural; by default `one` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
