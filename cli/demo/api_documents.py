"""The parts of the API's documents that the demo uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

_UNLIMITED = "unlimited"


@dataclass(frozen=True, slots=True)
class Seats:
    """The seats of one type; `purchased` is None if they are unlimited."""

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
    def purchased_text(self) -> str:
        return _UNLIMITED if self.purchased is None else str(self.purchased)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        purchased = None if document["purchased"] == _UNLIMITED else document["purchased"]
        return cls(purchased, document["active"], document["held"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The seats document. `subscriptions` maps ids to statuses; `is_leaving`: one ends with its period."""

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
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        subscriptions = document["subscriptions"]
        return cls(
            account_id=document["account_id"],
            status=document["status"],
            policy=document["policy"],
            seats={seat_type: Seats.from_json(seats) for seat_type, seats in document["seats"].items()},
            subscriptions={each["subscription_id"]: each["status"] for each in subscriptions},
            is_leaving=any(each["cancel_at_next_billing_date"] for each in subscriptions),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored webhook delivery of the inbox."""

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
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            inbox_id=document["id"],
            type=document["type"],
            subscription_id=document["subscription_id"],
            state=document["state"],
            reason=document["reason"],
            received_at=datetime.fromisoformat(document["received_at"]),
        )
