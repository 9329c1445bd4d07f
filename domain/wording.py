"""Words that follow a number."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 account`, `2 accounts`; `many` is what follows any number but one, `one` with an s if not given."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
