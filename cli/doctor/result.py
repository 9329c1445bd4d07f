"""What a check says: how bad it is, what was looked at, what was found, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is, the worst last. A note is worth knowing and no fault."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Result:
    """One thing looked at. `advice` is None where there is nothing to do; nothing secret stands in any."""

    level: Level
    check: str
    found: str
    advice: str | None = None


def ok(check: str, found: str) -> Result:
    """Nothing to do."""
    return Result(Level.OK, check, found)


def worst(results: list[Result]) -> Level:
    """The level of the worst of them."""
    return max((result.level for result in results), key=list(Level).index, default=Level.OK)
