"""The soft policy: every claim is granted, and the overage is recorded."""

from __future__ import annotations

from domain.policies import Decision, Situation, granted_within_limit, seat_words
from domain.seat_limit import overage

HAS_DEADLINE = False
BUYS = False
STRICTNESS = 3


def decide(situation: Situation) -> Decision:
    """Grant always; the message says how far the account is over the limit."""
    used_after = situation.used + situation.requested
    over_by = overage(situation.purchased, used_after)
    if over_by == 0:
        return granted_within_limit(situation)
    message = f"Granted: {used_after} of {situation.purchased} {situation.seat_type} seats are then used. "
    message += f"That is {seat_words(over_by, situation.seat_type)} over the limit: buy as many more."
    return Decision(granted=True, code="granted_over_limit", message=message)
