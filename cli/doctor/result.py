"""The result of a check: level, what was checked, what was found, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """From harmless to severe. A note is information, not a problem."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Result:
    """One result. `advice` is None if there is nothing to do. No field contains secrets."""

    level: Level
    check: str
    found: str
    advice: str | None = None


def ok(check: str, found: str) -> Result:
    """A result without a problem."""
    return Result(Level.OK, check, found)


def worst(results: list[Result]) -> Level:
    """The most severe level of the results; OK if there are none."""
    return max((result.level for result in results), key=list(Level).index, default=Level.OK)
