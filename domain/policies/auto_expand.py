"""The auto_expand policy: missing seats are bought. `domain.purchase.daily_limit` limits how many."""

from __future__ import annotations

from domain.errors import PurchaseNeeded
from domain.policies import Decision, Situation, granted_within_limit, seat_words
from domain.seat_limit import at_least, overage

HAS_DEADLINE = False
BUYS = True
STRICTNESS = 1


def decide(situation: Situation) -> Decision:
    """Grant within the limit. Otherwise refuse, and set `to_buy` to the number of missing seats."""
    used_after = situation.used + situation.requested
    if at_least(situation.purchased, used_after):
        return granted_within_limit(situation)
    to_buy = overage(situation.purchased, used_after)
    return Decision(
        granted=False,
        code=PurchaseNeeded.code,
        message=f"{seat_words(to_buy, situation.seat_type)} would have to be bought first "
        f"({situation.used} of {situation.purchased} are used). Claim the seats one by one to have them "
        "bought automatically, or buy them with a seat change.",
        to_buy=to_buy,
    )
