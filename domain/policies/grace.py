"""The grace policy: claims over the limit are granted until a deadline."""

from __future__ import annotations

from domain.errors import ClaimsBlocked
from domain.policies import Decision, Situation, granted_within_limit, how_to_get_within_limit
from domain.seat_limit import at_least, overage
from domain.times import moment_words

HAS_DEADLINE = True
BUYS = False
STRICTNESS = 2


def decide(situation: Situation) -> Decision:
    """Grant within the limit, and over it until the deadline, which the first such claim starts."""
    used_after = situation.used + situation.requested
    if at_least(situation.purchased, used_after):
        return granted_within_limit(situation)
    deadline = situation.deadline or situation.now + situation.grace
    over_by = overage(situation.purchased, used_after)
    if situation.now >= deadline:
        return Decision(
            granted=False,
            code=ClaimsBlocked.code,
            message=f"The grace period for the overage ended on {moment_words(deadline)}. "
            f"{how_to_get_within_limit(over_by, situation.used, situation.seat_type)}.",
        )
    return Decision(
        granted=True,
        code="granted_in_grace",
        message=f"Granted: {used_after} of {situation.purchased} {situation.seat_type} seats are then used. "
        f"{how_to_get_within_limit(over_by, used_after, situation.seat_type)} by {moment_words(deadline)}; "
        "after that new claims are refused.",
    )
