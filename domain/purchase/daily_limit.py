"""Expansion: how many seats may be bought for claims that find none, and why no more than that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.policies import seat_words
from domain.seat_limit import SeatLimit, at_least, overage
from domain.wording import counted

STOP_AFTER: Final = 3
"""After so many purchases in a row that were in vain nothing is bought automatically any more."""

_FIRST_REST: Final = timedelta(minutes=1)


def pause_after(failures: int) -> timedelta:
    """How long nothing is bought after so many purchases in a row that were in vain: twice as long each time,
    since each claim would be another attempt to charge the same card.
    """
    return _FIRST_REST * 2.0 ** (failures - 1) if failures else timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyBudget:
    """What has been bought for the account without anybody asking for it but claims, all seat types together.

    `per_day` may be bought on one UTC day, `today` of them are, attempts in vain included. `under_way` of
    these are not confirmed yet, and `waiting` claims wait for a seat. `failures` purchases in a row were in
    vain; nothing is bought before `rests_until`, None if it may be.
    """

    per_day: int
    today: int = 0
    under_way: int = 0
    waiting: int = 0
    failures: int = 0
    rests_until: datetime | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether only a person, a payment or a new payment method turns purchases on again."""
        return self.failures >= STOP_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatTypeLimit:
    """One seat type of the account: what it has, and the most it could have by buying; None for no bound."""

    seat_type: str
    purchased: SeatLimit
    used: int
    waiting: int = 0
    maximum: int | None = None


def reason_not_bought(shelf: SeatTypeLimit, purse: DailyBudget, requested: int, now: datetime) -> str | None:
    """Why seats for so many more people are not bought; None if they are."""
    seated = shelf.used - shelf.waiting
    if not at_least(shelf.purchased, seated):
        return over_limit_message(shelf.seat_type, seated, shelf.purchased)
    if shelf.maximum is not None and shelf.used + requested > shelf.maximum:
        return f"No more than {seat_words(shelf.maximum, shelf.seat_type)} can be bought for the account."
    missing = overage(shelf.purchased, shelf.used + requested)
    to_buy = max(missing + purse.waiting - shelf.waiting - purse.under_way, 0)
    if purse.today + to_buy > purse.per_day:
        return daily_limit_message(purse)
    if purse.is_stopped:
        return stopped_message(purse.failures)
    if purse.rests_until is not None and now < purse.rests_until:
        again = purse.rests_until.astimezone(UTC)
        return f"The last purchase failed: the next is tried from {again:%H:%M:%S} UTC on."
    return None


def stopped_message(failures: int) -> str:
    """That nothing is bought automatically any more, and what turns it on again."""
    return (
        f"The last {failures} purchases failed, so no seats are bought automatically for the account. A "
        "payment, a new payment method or a seat change that is applied turns this on again, and so does "
        "POST /v1/accounts/ID/purchases/resume."
    )


def over_limit_message(seat_type: str, seated: int, purchased: SeatLimit) -> str:
    """That seats are bought for who claims one, and not for who is beyond the limit already."""
    return (
        f"{counted(seated, 'person sits', 'people sit')} on {purchased} {seat_type} seats already, and "
        "nothing is bought by itself for who is there: buy for them by a seat change, or release some."
    )


def daily_limit_message(purse: DailyBudget) -> str:
    """That the day's limit is used up, and what to do about it."""
    return (
        f"{purse.today} of the {seat_words(purse.per_day, 'such')} that may be bought by themselves for the "
        "account in one UTC day are bought (auto_expand_limit): buy by a seat change, or wait until midnight "
        "UTC."
    )
