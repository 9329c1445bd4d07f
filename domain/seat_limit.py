"""Seat limits: a number of seats, or unlimited."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal


class Unlimited(Enum):
    """The single value `UNLIMITED`, which is more than any number; shown as the word `unlimited`."""

    UNLIMITED = "unlimited"

    def __str__(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final[Literal[Unlimited.UNLIMITED]] = Unlimited.UNLIMITED
SeatLimit = int | Literal[Unlimited.UNLIMITED]


def add(left: SeatLimit, right: SeatLimit) -> SeatLimit:
    """The sum; anything plus unlimited is unlimited."""
    if isinstance(left, Unlimited) or isinstance(right, Unlimited):
        return UNLIMITED
    return left + right


def at_least(limit: SeatLimit, seats: SeatLimit) -> bool:
    """True if `limit` >= `seats`."""
    if isinstance(limit, Unlimited):
        return True
    return not isinstance(seats, Unlimited) and limit >= seats


def available(purchased: SeatLimit, used: int) -> SeatLimit:
    """max(purchased - used, 0); unlimited stays unlimited."""
    return UNLIMITED if isinstance(purchased, Unlimited) else max(purchased - used, 0)


def overage(purchased: SeatLimit, used: int) -> int:
    """max(used - purchased, 0); nothing exceeds unlimited."""
    return 0 if isinstance(purchased, Unlimited) else max(used - purchased, 0)


def to_json(limit: SeatLimit) -> int | str:
    """The number, or the string `unlimited`."""
    return limit.value if isinstance(limit, Unlimited) else limit


def from_json(value: int | str) -> SeatLimit:
    """The reverse of `to_json`."""
    return UNLIMITED if value == UNLIMITED.value else int(value)
