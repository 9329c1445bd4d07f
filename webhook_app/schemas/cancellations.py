"""Requests and responses of the calls that end subscriptions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from domain.billing_terms import When
from models.account import AccountStatus
from models.cancellation import CancellationState
from services.ledger.field_types import Id
from webhook_app.schemas.common import RequestModel, ResponseModel, SeatCount


class CancellationPath(BaseModel):
    account_id: Id
    cancellation_id: Id


class CancellationBody(RequestModel):
    when: When = Field(description="`at_renewal`: at the next billing date; `now`: at once")
    subscription_id: Id | None = Field(None, description="default: the account's only running subscription")


class CancellationConfirmBody(RequestModel):
    token: Annotated[str, Field(min_length=1, max_length=100)]


class TypeAfterShown(ResponseModel):
    before: SeatCount = Field(description="purchased seats now")
    after: SeatCount = Field(description="purchased seats once the subscription has ended")
    used: int
    over: int = Field(description="how many used seats are more than were purchased then")
    claims_refused_from: datetime | None = Field(description="null: claims are still granted")
    suspended_at: datetime | None = Field(
        description="when the members over the limit are suspended; null: they keep their seats"
    )


class RemainingShown(ResponseModel):
    subscription_id: str | None = None
    contract: str | None = None
    free: bool | None = Field(None, description="true: the free seats of the catalogue")
    seats: dict[str, SeatCount]


class CancellationStep(ResponseModel):
    state: CancellationState
    at: datetime
    message: str | None


class CancellationShown(ResponseModel):
    cancellation_id: str
    state: CancellationState
    subscription_id: str
    when: When
    ends_at: datetime | None = Field(description="when the subscription ends, or has ended")
    at_provider: bool = Field(
        description="true: it was made in the customer portal or the dashboard, and found by a sync"
    )
    confirmed_by: str | None
    undo_requested_by: str | None
    undo_pending: bool = Field(description="true: an undo was sent, and its outcome is not known yet")
    status_after: AccountStatus | None = Field(description="the account's status after the end")
    seats: dict[str, TypeAfterShown] | None = Field(
        description="by seat type, as previewed; null if it was made at the provider, like the next fields"
    )
    remaining: list[RemainingShown] | None = Field(description="what still gives seats after the end")
    credit: None = Field(description="always null: the provider refunds and credits nothing by itself")
    unused_days: int | None = Field(description="whole days that are paid for and given up")
    drops_scheduled_change: bool | None = Field(description="true: a scheduled seat change is not made then")
    sentence: str | None = Field(description="a summary that may be shown to the customer")
    code: str | None = Field(description="why it failed, or what is still unknown")
    message: str | None
    retry_helps: bool | None
    created_at: datetime
    expires_at: datetime | None = Field(description="a preview can be confirmed until then")
    sent_at: datetime | None
    history: list[CancellationStep]


class EndingLeaver(ResponseModel):
    place: int
    member_id: str
    name: str | None
    role: str
    seat_type: str
    protected: bool
    reason: str


class CancellationPreviewed(CancellationShown):
    token: str = Field(description="confirms exactly this cancellation; shown only in this response")
    leavers: list[EndingLeaver] = Field(
        description="the first 100 members over a limit after the end, in the order in which they would leave"
    )
    total_over: int = Field(description="how many members are over a limit after the end")


class CancellationsShown(ResponseModel):
    cancellations: list[CancellationShown]
