"""What goes over the wire, in both directions. Unknown request fields are refused."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_validator,
)

from domain import emails, policies
from domain.drift import LikelyCause
from domain.ids import LONGEST_ID, has_control_characters, problem_of
from models.account import AccountStatus
from models.assignment import AssignmentState
from models.drift_finding import FindingState
from models.inbox import InboxState
from webhook_app.problems import Problem


def _printable(text: str) -> str:
    if has_control_characters(text):
        raise ValueError("must not hold control characters")
    return text


def _nameable(text: str) -> str:
    if (problem := problem_of(text)) is not None:
        raise ValueError(problem)
    return text


def _usable(address: str) -> str:
    if (problem := emails.problem_of(address)) is not None:
        raise ValueError(problem)
    return address


_A_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)
_A_NUMBER: Final = re.compile(r"-?[0-9]{1,20}")
_AN_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
_FIRST_MOMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _since_1970(moment: datetime) -> datetime:
    """The time in UTC; the first and the last hours of the calendar have no place there."""
    with suppress(OverflowError):
        if (in_utc := moment.astimezone(UTC)) >= _FIRST_MOMENT:
            return in_utc
    raise ValueError("is no time since 1970")


_SHORT_TEXT: Final = StringConstraints(min_length=1, max_length=LONGEST_ID)

Id = Annotated[str, _SHORT_TEXT, AfterValidator(_printable)]
"""What is looked up by its id or name, also by an id from before there was a rule for new ones."""

NewId = Annotated[str, _SHORT_TEXT, AfterValidator(_nameable)]
"""The id of an account, a member or a subscription where a call may bring it in."""


def _an_address(text: str) -> str:
    if not _AN_ADDRESS.fullmatch(text):
        raise ValueError("is not an e-mail address")
    return text


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=200),
    AfterValidator(_an_address),
    AfterValidator(_usable),
]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_printable)
]


Activity = Annotated[AwareDatetime, AfterValidator(_since_1970)]


def _written_out(value: object) -> object:
    """A bare number would be taken for seconds since 1970, and a day for its first moment somewhere."""
    if not (isinstance(value, str) and _A_TIME.fullmatch(value)):
        raise ValueError("must be a time with an offset, as 2026-11-22T12:00:00Z; write + as %2B in a URL")
    return value


Time = Annotated[Activity, BeforeValidator(_written_out)]


def _in_digits(value: object) -> object:
    """`int` alone would also read `1_000`, `+1`, ` 1 ` and `1.0`."""
    if isinstance(value, str) and not _A_NUMBER.fullmatch(value):
        raise ValueError("must be a whole number, in digits")
    return value


Number = Annotated[int, BeforeValidator(_in_digits)]
"""A number in a path or a query."""

Cursor = Annotated[Number, Field(ge=0, lt=2**63)]


def _policy(name: str) -> str:
    if name not in policies.names():
        raise ValueError(f"must be one of {', '.join(policies.names())}")
    return name


PolicyName = Annotated[str, AfterValidator(_policy)]
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


class NewAccountPath(BaseModel):
    account_id: NewId


class LinkPath(BaseModel):
    account_id: NewId
    subscription_id: NewId


class MemberPath(BaseModel):
    account_id: Id
    member_id: Id


class InboxPath(BaseModel):
    inbox_id: Annotated[Number, Field(ge=1, lt=2**63)]


class FindingPath(BaseModel):
    finding_id: Annotated[Number, Field(ge=1, lt=2**63)]


class DismissBody(Wanted):
    model_config = ConfigDict(strict=True)

    reason: Name = Field(description="why it may be closed; kept with the finding")


class NoQuery(Wanted):
    """A question with nothing to choose: what we would not heed is refused, not ignored."""


class SeatsQuery(Wanted):
    at: Time | None = Field(
        None, description="the document as it was then, from the audit; ISO 8601 with an offset"
    )


class CanAddQuery(Wanted):
    role: Id
    count: Annotated[Number, Field(ge=1, le=1_000_000)] = 1


class PageQuery(Wanted):
    limit: Annotated[Number, Field(ge=1, le=200)] = 50


class AccountsQuery(PageQuery):
    status: AccountStatus | None = None
    cursor: Id | None = Field(None, description="`next_cursor` of the page before")


class MembersQuery(PageQuery):
    member_id: Id | None = None
    email: Email | None = Field(None, description="in any spelling of the address")
    state: AssignmentState | None = Field(None, description="unset: all but released")
    role: Id | None = None
    type: Id | None = Field(None, description="a seat type, or `free`")
    cursor: Cursor | None = None


class LeaversQuery(Wanted):
    type: Id | None = Field(None, description="a seat type; unset: all of them")
    to: Annotated[Number, Field(ge=0, lt=2**63)] | None = Field(
        None, description="so many seats to come down to; unset: what is purchased now"
    )


class InboxQuery(PageQuery):
    state: InboxState | None = None
    cursor: Cursor | None = None


class DriftQuery(PageQuery):
    state: FindingState | None = Field(None, description="default: those that stand, open or held")
    cursor: Cursor | None = None


class ClaimBody(Wanted):
    # JSON has types of its own: "yes" is no boolean.
    model_config = ConfigDict(strict=True)

    member_id: NewId
    role: Id
    email: Email | None = Field(None, description="outer blanks and letter case do not make another person")
    name: Name | None = Field(None, description="for people who choose who leaves; erased on request")
    hold: bool = Field(False, description="keep the seat for an invitation; it lapses by itself")
    protected: bool = Field(False, description="the last to leave when seats are reduced")


class BatchBody(Wanted):
    model_config = ConfigDict(strict=True)

    mode: Literal["all", "each"] = Field(description="`all`: all or none; `each`: every claim for itself")
    claims: Annotated[list[ClaimBody], Field(min_length=1, max_length=1000)]


class MemberChange(Wanted):
    """What is to be different; what is left out stays. At least one field."""

    role: Id | None = Field(None, description="another role: a move between seat types, in one step")
    state: Literal["active", "held", "suspended"] | None = Field(
        None,
        description="`active` takes an invitation up or reactivates; `held` sends an invitation again; "
        "`suspended` frees the seat and keeps the member",
    )
    protected: StrictBool | None = None
    name: Name | None = None
    email: Email | None = None
    last_active_at: Time | None = Field(None, description="kept only if later than what is known")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError("must name at least one thing to change")
        return self


class RenameBody(Wanted):
    model_config = ConfigDict(strict=True)

    member_id: NewId = Field(description="the id that the member has from now on")


class PolicyBody(Wanted):
    """The account's own rules; what is left out, or null, is the catalogue's again."""

    policy: PolicyName | None = None
    grace_days: Annotated[StrictInt, Field(ge=0, le=365)] | None = None
    suspend_after_grace: StrictBool | None = None
    hold_days: Annotated[StrictInt, Field(ge=1, le=365)] | None = None
    seat_types: dict[Id, PolicyName] = Field({}, description="policies of single seat types")


# What is shown.


class Received(Shown):
    received: Literal[True]
    duplicate: bool


class Alive(Shown):
    status: Literal["ok"]


class PurchasesResumed(Shown):
    account_id: str
    failures_forgiven: int = Field(description="purchases in a row that had failed until now")


class Readiness(Shown):
    status: Literal["ready", "lagging", "outdated"]
    database: Literal["ok"]
    schema_: str = Field(alias="schema", description="the revision of the database's schema")
    generation: int | None = Field(description="the generation in force; null before the first evaluation")
    evaluates: bool = Field(description="false: this process is of an older generation")
    broker: Literal["ok", "away"] = Field(description="without it deliveries are still taken and worked off")
    oldest_unprocessed_seconds: float
    longest_untouched_seconds: float = Field(
        description="how long the subscription that has been due longest was touched by no worker"
    )


class SeatsOfType(Shown):
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


class ScheduledChangeShown(Shown):
    effective_at: datetime | None
    seats: dict[str, SeatCount] | None = Field(
        None, description="those the subscription will give; absent where the catalogue cannot count them"
    )


class SubscriptionShown(Shown):
    subscription_id: str
    status: str | None = Field(description="null only with `at`: it was one that nobody had described")
    product_id: str
    cancel_at_next_billing_date: bool | None = Field(description="null only with `at`")
    next_billing_date: datetime | None
    scheduled_change: ScheduledChangeShown | None = Field(
        None, description="absent unless the provider has a change scheduled, by whomever"
    )


class SeatsDocument(Shown):
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
    awaits_purchase: bool = Field(description="the seat is held until it is bought")
    reason: str = Field(description="why the member counts, or does not")
    name: str | None
    email: str | None
    protected: bool
    claimed_at: datetime
    last_active_at: datetime | None = Field(description="as the app reported it")
    expires_at: datetime | None
    released_at: datetime | None
    warnings: list[str] = Field(
        [],
        description="left out if there are none: a role that the catalogue has only in another case, or with "
        "other blanks, and that therefore means what `*` means",
    )


class ClaimResult(Shown):
    member_id: str
    status: int = Field(description="what the claim alone would have been answered")
    assignment: Member | None = None
    problem: Problem | None = None


class BatchResult(Shown):
    mode: Literal["all", "each"]
    granted: int
    waiting: int = Field(description="held until their seats are bought")
    refused: int
    results: list[ClaimResult]


class SeatRulesShown(Shown):
    policy: str
    grace_days: int
    suspend_after_grace: bool
    hold_days: int


class PolicyInForce(Shown):
    account_id: str
    policy: str
    seat_types: dict[str, str] = Field(description="policies of single seat types that differ")
    grace_days: int
    suspend_after_grace: bool
    payment_grace_days: int
    hold_days: int
    rules: dict[str, SeatRulesShown] = Field(description="all rules in force, by seat type")
    override: dict[str, Any] | None = Field(description="what the app decided; the rest is the catalogue's")


class Members(Shown):
    members: list[Member]
    next_cursor: int | None


class Released(Shown):
    member_id: str
    released: bool = Field(description="false: there was no seat to free")


class LeaverShown(Shown):
    place: int = Field(description="1 leaves first")
    member_id: str
    name: str | None
    role: str
    state: Literal["active", "held"]
    protected: bool
    claimed_at: datetime
    last_active_at: datetime | None = Field(description="as the app reported it")
    reason: str = Field(description="why the member has that place")


class LeaversOfType(Shown):
    used: int
    purchased: SeatCount
    target: SeatCount
    total: int = Field(description="so many would have to leave, listed or not")
    leavers: list[LeaverShown] = Field(description="the first 1000 of them")


class Leavers(Shown):
    account_id: str
    order: str
    seat_types: dict[str, LeaversOfType]


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


class AccountDeleted(Shown):
    account_id: str
    deleted: Literal[True]


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
    likely_cause: LikelyCause
    state: FindingState
    held_because: str | None = Field(description="why it is not repaired, if it is held")
    message: str
    first_seen: datetime
    last_seen: datetime
    closed_at: datetime | None
    closed_because: str | None = Field(description="why a person closed it, if its state is `dismissed`")


class DriftPage(Shown):
    findings: list[DriftShown]
    next_cursor: int | None


class SyncWaiting(Shown):
    subscription_id: str
    reason: str | None = Field(description="why the last look failed, if it did")
    dead: bool = Field(
        description="given up on: nobody looks again before the daily verification or a replay"
    )


class Synced(Shown):
    changed: bool
    drift: list[DriftShown]
    waiting: list[SyncWaiting]
