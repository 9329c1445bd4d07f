"""What is missing is bought. This file decides how many; whoever has a purchase at hand buys them."""

from __future__ import annotations

from seats.errors import PurchaseNeeded
from seats.limit import at_least, overage
from seats.policies import Decision, Situation, granted_within, seat_words

HAS_DEADLINE = False


def decide(situation: Situation) -> Decision:
    """Granted within the limit; beyond it `to_buy` says how many seats would have to be bought first."""
    used_after = situation.used + situation.requested
    if at_least(situation.purchased, used_after):
        return granted_within(situation)
    to_buy = overage(situation.purchased, used_after)
    return Decision(
        granted=False,
        code=PurchaseNeeded.code,
        message=f"{seat_words(to_buy, situation.seat_type)} would have to be bought first "
        f"({situation.used} of {situation.purchased} are used), and this service cannot buy yet: buy them "
        "at the provider, or release as many.",
        to_buy=to_buy,
    )
