"""Never more than was bought."""

from __future__ import annotations

from seats.errors import NoSeatAvailable
from seats.limit import at_least, available, overage
from seats.policies import Decision, Situation, seat_words


def decide(situation: Situation) -> Decision:
    """Granted while used + requested stays within purchased."""
    used_after = situation.used + situation.requested
    if at_least(situation.purchased, used_after):
        message = f"Granted: {used_after} of {situation.purchased} {situation.seat_type} seats are then used."
        return Decision(granted=True, code="granted", message=message)
    return Decision(granted=False, code=NoSeatAvailable.code, message=_refusal(situation, used_after))


def _refusal(situation: Situation, used_after: int) -> str:
    asked = seat_words(situation.requested, situation.seat_type)
    missing = seat_words(overage(situation.purchased, used_after), situation.seat_type)
    left = available(situation.purchased, situation.used)
    return (
        f"Asked for {asked}, {left} available: {situation.used} of {situation.purchased} are used. "
        f"Release {missing} or buy as many more."
    )
