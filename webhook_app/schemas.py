"""What goes over the wire, in both directions. Unknown request fields are refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from models.account import AccountStatus
from models.assignment import AssignmentState
from models.inbox import InboxState
from seats.ids import LONGEST_ID, has_control_characters


def _printable(text: str) -> str:
    if has_control_characters(text):
        raise ValueError("must not hold control characters")
    return text


Id = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID), AfterValidator(_printable)]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^@\s]+@[^@\s]+$"),
    AfterValidator(_printable),
]
SeatCount = int | Literal["unlimited"]


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


# What is asked.


class ProviderPath(BaseModel):
    provider: str


class AccountPath(BaseModel):
    account_id: Id


class SubscriptionPath(BaseModel):
    subscription_id: Id


class LinkPath(BaseModel):
    account_id: Id
    subscription_id: Id


class MemberPath(BaseModel):
    account_id: Id
    member_id: Id


class InboxPath(BaseModel):
    inbox_id: Annotated[int, Field(ge=1, lt=2**63)]


class NoQuery(Wanted):
    """A question with nothing to choose: what we would not heed is refused, not ignored."""


class CanAddQuery(Wanted):
    role: Id
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1


class PageQuery(Wanted):
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class AccountsQuery(PageQuery):
    status: AccountStatus | None = None
    cursor: Id | None = Field(None, description="`next_cursor` of the page before")


class MembersQuery(PageQuery):
    state: AssignmentState | None = Field(None, description="unset: all but released")
    role: Id | None = None
    type: Id | None = Field(None, description="a seat type, or `free`")
    cursor: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class InboxQuery(PageQuery):
    state: InboxState | None = None
    cursor: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class DriftQuery(PageQuery):
    cursor: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class ClaimBody(Wanted):
    # JSON has types of its own: "yes" is no boolean.
    model_config = ConfigDict(strict=True)

    member_id: Id
    role: Id
    email: Email | None = Field(None, description="outer blanks and letter case do not make another person")
    hold: bool = Field(False, description="keep the seat for an invitation; it lapses by itself")
    protected: bool = Field(False, description="the last to leave when seats are reduced")


# What is shown.


class Received(Shown):
    received: Literal[True]
    duplicate: bool


class Alive(Shown):
    status: Literal["ok"]


class Readiness(Shown):
    status: Literal["ready", "lagging"]
    database: Literal["ok"]
    broker: Literal["ok", "away"] = Field(description="without it deliveries are still taken and worked off")
    oldest_unprocessed_seconds: float


class SeatsOfType(Shown):
    purchased: SeatCount
    included: SeatCount
    addon: int
    contract: SeatCount
    active: int
    held: int
    used: int
    available: SeatCount
    overage: int


class SubscriptionShown(Shown):
    subscription_id: str
    status: str
    product_id: str
    cancel_at_next_billing_date: bool
    next_billing_date: datetime | None


class SeatsDocument(Shown):
    account_id: str
    status: AccountStatus
    policy: str
    version: int
    seats: dict[str, SeatsOfType]
    subscriptions: list[SubscriptionShown]
    deadline: datetime | None
    as_of: datetime
    verified_at: datetime | None
    stale: bool
    source: Literal["cache", "database"]


class CanAdd(Shown):
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


class Member(Shown):
    member_id: str
    role: str
    seat_type: str | None = Field(description="null: the role is free and occupies no seat")
    state: AssignmentState
    occupies_seat: bool
    reason: str = Field(description="why the member counts, or does not")
    email: str | None
    protected: bool
    claimed_at: datetime
    expires_at: datetime | None
    released_at: datetime | None


class Members(Shown):
    members: list[Member]
    next_cursor: int | None


class Released(Shown):
    member_id: str
    released: bool = Field(description="false: there was no seat to free")


class AccountShown(Shown):
    account_id: str
    status: AccountStatus
    policy: str
    version: int
    created_at: datetime


class Accounts(Shown):
    accounts: list[AccountShown]
    next_cursor: str | None


class Linked(Shown):
    account_id: str
    subscription_id: str
    changed: bool


class InboxShown(Shown):
    id: int
    provider: str
    event_id: str
    type: str
    subscription_id: str | None
    state: InboxState
    reason: str | None
    occurred_at: datetime | None
    received_at: datetime


class InboxPage(Shown):
    events: list[InboxShown]
    next_cursor: int | None


class Replayed(Shown):
    id: int
    state: InboxState


class DriftShown(Shown):
    id: int
    subject: str
    kind: str
    field: str
    ours: str | None
    theirs: str | None
    message: str
    first_seen: datetime
    last_seen: datetime


class DriftPage(Shown):
    findings: list[DriftShown]
    next_cursor: int | None
