"""The least_active order: invitations leave first, then the members who were active least recently."""

from __future__ import annotations

from math import inf

from domain.reduction import Rank, SeatHolder
from domain.times import day_words


def rank(holder: SeatHolder) -> Rank:
    """Held before active, then the least recently active, then the newest claim.

    Members who were never reported active leave before those who were. Activity is ignored for held seats,
    because nobody works on them yet: the newest invitation leaves first.
    """
    newest_first = -holder.claimed_at.timestamp()
    if holder.state == "held":
        return (0, 0, newest_first)
    return (1, -inf if holder.last_active_at is None else holder.last_active_at.timestamp(), newest_first)


def reason(holder: SeatHolder) -> str:
    """The fact that decides the rank, with its day."""
    if holder.state == "held":
        return f"held for an invitation since {day_words(holder.claimed_at)}"
    if holder.last_active_at is None:
        return f"never reported active; joined {day_words(holder.claimed_at)}"
    return f"not active since {day_words(holder.last_active_at)}"
