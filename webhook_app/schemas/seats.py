"""Seats, as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    Field,
)

from models.account import AccountStatus
from services.ledger.input_types import Id, Time
from webhook_app.schemas.common import Number, RequestModel, ResponseModel, SeatCount


class SeatsQuery(RequestModel):
    at: Time | None = Field(
        None, description="the document as it was then, from the audit; ISO 8601 with an offset"
    )


class CanAddQuery(RequestModel):
    role: Id
    count: Annotated[Number, Field(ge=1, le=1_000_000)] = 1


class SeatsOfType(ResponseModel):
    policy: str = Field(description="the policy that decides about this seat type")
    purchased: SeatCount
    included: SeatCount
    addon: int
    contract: SeatCount
    active: int
    held: int
    used: int
    available: SeatCount
    overage: int
    waiting: int = Field(
        0, description="held seats that are still to be bought; left out where there are none"
    )
    deadline: datetime | None = Field(
        None,
        description="when new claims are refused unless use is back within what was bought; left out where "
        "there is none",
    )
    suspends_at: datetime | None = Field(
        None, description="when members are suspended unless it is; left out where nobody would be"
    )


class ScheduledChangeShown(ResponseModel):
    effective_at: datetime | None
    seats: dict[str, SeatCount] | None = Field(
        None, description="those the subscription will give; absent where the catalogue cannot count them"
    )


class SubscriptionShown(ResponseModel):
    subscription_id: str
    status: str | None = Field(description="null only with `at`: it was one that nobody had described")
    product_id: str
    cancel_at_next_billing_date: bool | None = Field(description="null only with `at`")
    next_billing_date: datetime | None
    scheduled_change: ScheduledChangeShown | None = Field(
        None, description="absent unless the provider has a change scheduled, by whomever"
    )


class SeatsDocument(ResponseModel):
    account_id: str
    status: AccountStatus
    policy: str = Field(description="the account's, for every seat type that has no other")
    version: int | None = Field(description="null only with `at`")
    seats: dict[str, SeatsOfType]
    subscriptions: list[SubscriptionShown]
    deadline: datetime | None
    as_of: datetime
    verified_at: datetime | None
    stale: bool
    source: Literal["cache", "database", "audit"]


class CanAdd(ResponseModel):
    allowed: bool
    code: str
    message: str
    account_id: str
    role: str
    count: int
    seat_type: str | None
    purchased: SeatCount | None
    used: int | None
    available: SeatCount | None
    overage: int | None
