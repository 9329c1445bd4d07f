"""Draws seats as a bar with the parts active, held, available and over the limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cli.demo.api_documents import Account, Seats


class Part(StrEnum):
    ACTIVE = "active"
    HELD = "held"
    AVAILABLE = "available"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One character for each part, so that the parts differ without colours too."""

    active: str
    held: str
    available: str
    over: str

    def of(self, part: Part) -> str:
        return {
            Part.ACTIVE: self.active,
            Part.HELD: self.held,
            Part.AVAILABLE: self.available,
            Part.OVER: self.over,
        }[part]


BLOCKS: Final = Glyphs(active="█", held="▓", available="░", over="▒")
ASCII: Final = Glyphs(active="#", held="+", available=".", over="!")

_SCALES: Final = (2, 1, *(1 / each for each in (2, 3, 4, 5, 10, 20, 50, 100, 200, 500, 1000)))


def main_type(account: Account) -> str | None:
    """The seat type that the bar shows: the one with the most seats. None if there are no seat types."""
    return max(account.seats, key=lambda each: _length(account.seats[each]), default=None)


def cells_per_seat(bars: Iterable[Seats], width: int) -> float:
    """One scale for all bars, so that they are comparable. It is a round number, so it rarely changes."""
    longest = max((_length(seats) for seats in bars), default=0)
    return next((scale for scale in _SCALES if longest * scale <= width), _SCALES[-1])


def parts(seats: Seats, scale: float) -> Iterator[tuple[Part, int]]:
    """The parts of a bar in order, each with its number of cells: at least one if it is not empty."""
    limit = seats.used if seats.purchased is None else seats.purchased
    active = min(seats.active, limit)
    held = min(seats.held, limit - active)
    counted = {
        Part.ACTIVE: active,
        Part.HELD: held,
        Part.AVAILABLE: seats.available or 0,
        Part.OVER: seats.overage,
    }
    for part, count in counted.items():
        if count:
            yield part, max(round(count * scale), 1)


def _length(seats: Seats) -> int:
    return max(seats.purchased or 0, seats.used)
