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
        """Whether more people sit there than seats were bought, beside those who wait for one."""
        return self.overage > self.waiting

    @property
    def is_full(self) -> bool:
        """Whether no seat is left, beside those that are still to be bought."""
        return available(self.purchased, self.used - self.waiting) == 0

    def moved(self, by: Counted) -> Balance:
        """The balance with so many more (or fewer) seats taken."""
        return replace(
            self, active=self.active + by.active, held=self.held + by.held, waiting=self.waiting + by.waiting
        )

    def situation(self, seat_type: str, *, now: datetime, rules: SeatRules, requested: int = 1) -> Situation:
        """What a policy may look at when so many seats of this type are asked for."""
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
        """What documents, answers and notices show of it; an unlimited number is the word `unlimited`."""
        return {
            "purchased": to_json(self.purchased),
            "used": self.used,
            "available": to_json(self.available),
            "overage": self.overage,
        }

    def to_json(self) -> dict[str, Any]:
        """What the account's row and the audit store of it."""
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
    def from_json(cls, kept: Mapping[str, int | str]) -> Balance:
        """The reverse of `to_json`."""
        seats = Seats(from_json(kept["included"]), int(kept["addon"]), from_json(kept["contract"]))
        waiting = int(kept.get("waiting", 0))
        return cls(seats, int(kept["active"]), int(kept["held"]), waiting, _clock_from_json(kept))


EMPTY: Final = Balance()
"""No seats of a type, and nobody on one."""


def balances_from_json(kept: Mapping[str, Mapping[str, int | str]]) -> dict[str, Balance]:
    """The balances of an account by seat type, as its row and the audit store them."""
    return {seat_type: Balance.from_json(one) for seat_type, one in kept.items()}


def _clock_to_json(clock: OverageClock) -> dict[str, Any]:
    """Only what there is; `suspends_at` only where it is not the deadline."""
    moments = {
        "over_since": clock.since,
        "deadline": clock.deadline,
        "shelved_deadline": clock.shelved,
        "suspends_at": clock.suspends_at if clock.suspends_at != clock.deadline else None,
    }
    kept: dict[str, Any] = {
        name: moment.isoformat() for name, moment in moments.items() if moment is not None
    }
    return {**kept, "warned": clock.warned} if clock.deadline else kept


def _clock_from_json(kept: Mapping[str, int | str]) -> OverageClock:
    def moment(name: str) -> datetime | None:
        return datetime.fromisoformat(str(kept[name])) if name in kept else None

    deadline, warned = moment("deadline"), int(kept.get("warned", 0))
    suspends_at = (moment("suspends_at") or deadline) if warned else None
    return OverageClock(moment("over_since"), deadline, moment("shelved_deadline"), warned, suspends_at)
