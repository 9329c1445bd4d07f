"""The limits of automatic purchases: how many seats may be bought for an account, and why no more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.policies import seat_words
from domain.seat_limit import SeatLimit, at_least, overage
from domain.wording import counted

STOP_AFTER: Final = 3
"""After this many failed purchases in a row, nothing is bought automatically any more."""

_FIRST_REST: Final = timedelta(minutes=1)


def pause_after(failures: int) -> timedelta:
    """The pause after this many failed purchases in a row. It doubles each time, because every purchase is
    another attempt to charge the same card.
    """
    return _FIRST_REST * 2.0 ** (failures - 1) if failures else timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyBudget:
    """The automatic purchases of an account, all seat types together.

    `per_day` seats may be bought per UTC day; `today` were, including failed attempts. `under_way` of these
    are not confirmed yet. `waiting` claims are pending. `failures` purchases in a row have failed. Nothing is
    bought before `paused_until`; None if there is no pause.
    """

    per_day: int
    today: int = 0
    under_way: int = 0
    waiting: int = 0
    failures: int = 0
    paused_until: datetime | None = None

    @property
    def is_stopped(self) -> bool:
        """True if purchases stay off until a person, a payment or a new payment method turns them on."""
        return self.failures >= STOP_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatTypeLimit:
    """The seats of one type that an account has, and the most it can have (`maximum`; None: no limit)."""

    seat_type: str
    purchased: SeatLimit
    used: int
    waiting: int = 0
    maximum: int | None = None


def reason_not_bought(limit: SeatTypeLimit, budget: DailyBudget, requested: int, now: datetime) -> str | None:
    """Why seats for `requested` more people are not bought automatically; None if they may be."""
    members = limit.used - limit.waiting
    if not at_least(limit.purchased, members):
        return over_limit_message(limit.seat_type, members, limit.purchased)
    if limit.maximum is not None and limit.used + requested > limit.maximum:
        return f"No more than {seat_words(limit.maximum, limit.seat_type)} can be bought for the account."
    missing = overage(limit.purchased, limit.used + requested)
    to_buy = max(missing + budget.waiting - limit.waiting - budget.under_way, 0)
    if budget.today + to_buy > budget.per_day:
        return daily_limit_message(budget)
    if budget.is_stopped:
        return stopped_message(budget.failures)
    if budget.paused_until is not None and now < budget.paused_until:
        again = budget.paused_until.astimezone(UTC)
        return f"The last purchase failed. The next attempt is made after {again:%H:%M:%S} UTC."
    return None


def stopped_message(failures: int) -> str:
    """The message that automatic purchases are off, and what turns them on again."""
    return (
        f"The last {failures} purchases failed, so automatic purchases are off for the account. A payment, a "
        "new payment method, an applied seat change, or POST /v1/accounts/ID/purchases/resume turns them on "
        "again."
    )


def over_limit_message(seat_type: str, members: int, purchased: SeatLimit) -> str:
    """The message that no seats are bought for members who are already over the limit."""
    return (
        f"The account is already over its limit ({counted(members, 'member')} on "
        f"{purchased} {seat_type} seats). Seats are bought automatically for new claims only: buy the "
        "missing seats with a seat change, or release members."
    )


def daily_limit_message(budget: DailyBudget) -> str:
    """The message that a purchase would exceed the daily limit, and what to do."""
    return (
        f"This would exceed the daily limit: {budget.today} of {counted(budget.per_day, 'seat')} were bought "
        "automatically today (auto_expand_limit, UTC). Use a seat change, or try after midnight UTC."
    )
