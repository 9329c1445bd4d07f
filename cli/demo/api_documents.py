"""What the HTTP API shows, as far as the demo looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

_UNLIMITED = "unlimited"


@dataclass(frozen=True, slots=True)
class Seats:
    """One seat type of an account; `purchased` is None where it is unlimited."""

    purchased: int | None
    active: int = 0
    held: int = 0

    @property
    def used(self) -> int:
        return self.active + self.held

    @property
    def available(self) -> int | None:
        return None if self.purchased is None else max(self.purchased - self.used, 0)

    @property
    def overage(self) -> int:
        return 0 if self.purchased is None else max(self.used - self.purchased, 0)

    @property
    def purchased_words(self) -> str:
        return _UNLIMITED if self.purchased is None else str(self.purchased)

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        purchased = None if shown["purchased"] == _UNLIMITED else shown["purchased"]
        return cls(purchased, shown["active"], shown["held"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The seats document; `subscriptions` maps ids to statuses."""

    account_id: str
    status: str = "ok"
    policy: str = "strict"
    seats: Mapping[str, Seats] = field(default_factory=dict)
    subscriptions: Mapping[str, str] = field(default_factory=dict)
    is_leaving: bool = False

    @property
    def overage(self) -> int:
        return sum(seats.overage for seats in self.seats.values())

    @property
    def refuses_claims(self) -> bool:
        return self.status in {"suspended", "ended", "blocked"}

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        subscriptions = shown["subscriptions"]
        return cls(
            account_id=shown["account_id"],
            status=shown["status"],
            policy=shown["policy"],
            seats={seat_type: Seats.from_json(seats) for seat_type, seats in shown["seats"].items()},
            subscriptions={each["subscription_id"]: each["status"] for each in subscriptions},
            is_leaving=any(each["cancel_at_next_billing_date"] for each in subscriptions),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A row of the inbox."""

    inbox_id: int
    type: str
    subscription_id: str | None
    state: str
    reason: str | None
    received_at: datetime

    @property
    def is_pending(self) -> bool:
        return self.state == "pending"

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Self:
        return cls(
            inbox_id=shown["id"],
            type=shown["type"],
            subscription_id=shown["subscription_id"],
            state=shown["state"],
            reason=shown["reason"],
            received_at=datetime.fromisoformat(shown["received_at"]),
        )
