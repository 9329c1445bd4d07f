"""Nobody is turned away; what exceeds the limit is recorded."""

from __future__ import annotations

from domain.policies import Decision, Situation, granted_within, seat_words
from domain.seat_limit import overage

HAS_DEADLINE = False
BUYS = False
STRICTNESS = 3


def decide(situation: Situation) -> Decision:
    """Always granted; the message says by how much it exceeds the limit."""
    used_after = situation.used + situation.requested
    over_by = overage(situation.purchased, used_after)
    if over_by == 0:
        return granted_within(situation)
    message = f"Granted: {used_after} of {situation.purchased} {situation.seat_type} seats are then used. "
    message += f"That is {seat_words(over_by, situation.seat_type)} over the limit: buy as many more."
    return Decision(granted=True, code="granted_over_limit", message=message)
