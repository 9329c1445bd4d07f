"""Requests and responses of the calls that read seats."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    Field,
)

from models.account import AccountStatus
from services.ledger.field_types import Id, Time
from webhook_app.schemas.common import Number, RequestModel, ResponseModel, SeatCount


class SeatsQuery(RequestModel):
    at: Time | None = Field(
        None, description="read the document as of this time, from the audit; ISO 8601 with an offset"
    )


class CanAddQuery(RequestModel):
    role: Id
    count: Annotated[Number, Field(ge=1, le=1_000_000)] = 1


class SeatsOfType(ResponseModel):
    policy: str = Field(description="the policy of this seat type")
    purchased: SeatCount
    included: SeatCount
    addon: int
    contract: SeatCount
    active: int
    held: int
    used: int
    available: SeatCount
    overage: int
    waiting: int = Field(0, description="held seats that are still to be bought; absent if there are none")
    deadline: datetime | None = Field(
        None,
        description="new claims are refused from then on, unless use is back within the limit; absent if "
        "there is no deadline",
    )
    suspends_at: datetime | None = Field(
        None,
        description="members are suspended then, unless use is back within the limit; absent if nobody is",
    )


class ScheduledChangeShown(ResponseModel):
    effective_at: datetime | None
    seats: dict[str, SeatCount] | None = Field(
        None, description="seats after the change; absent if the catalogue cannot count them"
    )


class SubscriptionShown(ResponseModel):
    subscription_id: str
    status: str | None = Field(description="null only with `at`, if it was not known at that time")
    product_id: str
    cancel_at_next_billing_date: bool | None = Field(description="null only with `at`")
    next_billing_date: datetime | None
    scheduled_change: ScheduledChangeShown | None = Field(
        None, description="absent unless the provider has a scheduled change"
    )


class SeatsDocument(ResponseModel):
    account_id: str
    status: AccountStatus
    policy: str = Field(description="the account's policy, for seat types without their own")
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
