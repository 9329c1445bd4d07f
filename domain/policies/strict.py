"""The strict policy: no claim is granted beyond the purchased seats."""

from __future__ import annotations

from domain.errors import NoSeatAvailable
from domain.policies import Decision, Situation, granted_within_limit, how_to_get_within_limit, seat_words
from domain.seat_limit import at_least, available, overage

HAS_DEADLINE = False
BUYS = False
STRICTNESS = 0


def decide(situation: Situation) -> Decision:
    """Grant if used + requested seats are at most the purchased ones."""
    used_after = situation.used + situation.requested
    if at_least(situation.purchased, used_after):
        return granted_within_limit(situation)
    return Decision(granted=False, code=NoSeatAvailable.code, message=_refusal(situation, used_after))


def _refusal(situation: Situation, used_after: int) -> str:
    requested = seat_words(situation.requested, situation.seat_type)
    missing = overage(situation.purchased, used_after)
    left = available(situation.purchased, situation.used)
    return (
        f"{requested} requested, {left} available: {situation.used} of {situation.purchased} are used. "
        f"{how_to_get_within_limit(missing, situation.used, situation.seat_type)}."
    )
