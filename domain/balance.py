"""Balances: how many seats of one type an account has bought, and how many of them are in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from domain.counts import NO_SEATS, Seats
from domain.overage import NO_OVERAGE, OverageClock
from domain.policies import Situation
from domain.seat_limit import SeatLimit, available, from_json, overage, to_json
from domain.seat_rules import SeatRules


@dataclass(frozen=True, slots=True)
class Counted:
    """Seats in a balance: active, held, and how many of the held ones are still to be bought."""

    active: int = 0
    held: int = 0
    waiting: int = 0

    def __add__(self, other: Counted) -> Counted:
        return self - -other

    def __sub__(self, other: Counted) -> Counted:
        return Counted(self.active - other.active, self.held - other.held, self.waiting - other.waiting)

    def __neg__(self) -> Counted:
        return Counted() - self


@dataclass(frozen=True, slots=True)
class Balance:
    """One seat type of one account: what was bought, what is in use, and the clock of its overage, if it is
    over its limit. `waiting` of the held seats are still to be bought.
    """

    seats: Seats = NO_SEATS
    active: int = 0
    held: int = 0
    waiting: int = 0
    clock: OverageClock = NO_OVERAGE

    @property
    def deadline(self) -> datetime | None:
        """When use must be back within what was bought, if the policy sets a deadline."""
        return self.clock.deadline

    @property
    def purchased(self) -> SeatLimit:
        return self.seats.purchased

    @property
    def used(self) -> int:
        return self.active + self.held

    @property
    def available(self) -> SeatLimit:
        return available(self.purchased, self.used)

    @property
    def overage(self) -> int:
        return overage(self.purchased, self.used)

    @property
    def is_over(self) -> bool:
        """True if more members have seats than were bought, not counting pending claims."""
        return self.overage > self.waiting

    @property
    def is_full(self) -> bool:
        """True if no seat is available, not counting seats that are still to be bought."""
        return available(self.purchased, self.used - self.waiting) == 0

    def moved(self, by: Counted) -> Balance:
        """The balance with the used seats adjusted by the difference `by`."""
        return replace(
            self, active=self.active + by.active, held=self.held + by.held, waiting=self.waiting + by.waiting
        )

    def situation(self, seat_type: str, *, now: datetime, rules: SeatRules, requested: int = 1) -> Situation:
        """What a policy sees if `requested` seats of this type are claimed."""
        return Situation(
            seat_type=seat_type,
            purchased=self.purchased,
            used=self.used,
            requested=requested,
            now=now,
            deadline=self.clock.known_deadline,
            grace=rules.grace,
        )

    def figures(self) -> dict[str, int | str]:
        """The figures in API responses and notices; an unlimited number is the word `unlimited`."""
        return {
            "purchased": to_json(self.purchased),
            "used": self.used,
            "available": to_json(self.available),
            "overage": self.overage,
        }

    def to_json(self) -> dict[str, Any]:
        """The balance as the account's row and audit rows store it."""
        return {
            "included": to_json(self.seats.included),
            "addon": self.seats.addon,
            "contract": to_json(self.seats.contract),
            "active": self.active,
            "held": self.held,
            **_clock_to_json(self.clock),
            **({"waiting": self.waiting} if self.waiting else {}),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, int | str]) -> Balance:
        """The reverse of `to_json`."""
        seats = Seats(from_json(stored["included"]), int(stored["addon"]), from_json(stored["contract"]))
        waiting = int(stored.get("waiting", 0))
        return cls(seats, int(stored["active"]), int(stored["held"]), waiting, _clock_from_json(stored))


EMPTY: Final = Balance()
"""No seats, and no used ones."""


def balances_from_json(stored: Mapping[str, Mapping[str, int | str]]) -> dict[str, Balance]:
    """The balances of an account by seat type, as its row and the audit store them."""
    return {seat_type: Balance.from_json(one) for seat_type, one in stored.items()}


def _clock_to_json(clock: OverageClock) -> dict[str, Any]:
    """The times that are set; `suspends_at` only if it differs from the deadline."""
    moments = {
        "over_since": clock.since,
        "deadline": clock.deadline,
        "shelved_deadline": clock.shelved,
        "suspends_at": clock.suspends_at if clock.suspends_at != clock.deadline else None,
    }
    stored: dict[str, Any] = {
        name: moment.isoformat() for name, moment in moments.items() if moment is not None
    }
    return {**stored, "warned": clock.warned} if clock.deadline else stored


def _clock_from_json(stored: Mapping[str, int | str]) -> OverageClock:
    def moment(name: str) -> datetime | None:
        return datetime.fromisoformat(str(stored[name])) if name in stored else None

    deadline, warned = moment("deadline"), int(stored.get("warned", 0))
    suspends_at = (moment("suspends_at") or deadline) if warned else None
    return OverageClock(moment("over_since"), deadline, moment("shelved_deadline"), warned, suspends_at)
