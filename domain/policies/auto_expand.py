"""What is missing is bought. This file decides how many; `domain.purchase.daily_limit` how many may be."""

from __future__ import annotations

from domain.errors import PurchaseNeeded
from domain.policies import Decision, Situation, granted_within, seat_words
from domain.seat_limit import at_least, overage

HAS_DEADLINE = False
BUYS = True
STRICTNESS = 1


def decide(situation: Situation) -> Decision:
    """Granted within the limit; beyond it `to_buy` says how many seats have to be bought first."""
    used_after = situation.used + situation.requested
    if at_least(situation.purchased, used_after):
        return granted_within(situation)
    to_buy = overage(situation.purchased, used_after)
    return Decision(
        granted=False,
        code=PurchaseNeeded.code,
        message=f"{seat_words(to_buy, situation.seat_type)} would have to be bought first "
        f"({situation.used} of {situation.purchased} are used): a claim of its own is granted once that is "
        "done, or buy them by a seat change.",
        to_buy=to_buy,
    )
