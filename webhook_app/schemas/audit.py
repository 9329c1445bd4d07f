"""What goes over the wire about the audit, and about the figures it explains."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from domain.explain import SourceKind
from models.account import AccountStatus
from models.assignment import AssignmentState
from services.ledger.input_types import Time
from services.reports.audit_export import Format
from webhook_app.schemas.common import RequestModel, ResponseModel, SeatCount
from webhook_app.schemas.seats import SeatsOfType


class AuditQuery(RequestModel):
    since: Time | None = Field(None, alias="from", description="rows written then or later")
    until: Time | None = Field(None, alias="to", description="rows written before")
    format: Format = Format.JSON

    @field_validator("until")
    @classmethod
    def _is_not_before_from(cls, until: datetime | None, others: ValidationInfo) -> datetime | None:
        since = others.data.get("since")
        if until is not None and since is not None and until < since:
            raise ValueError("must not be before `from`")
        return until


class AuditRowShown(ResponseModel):
    id: int
    at: datetime
    account_id: str
    actor: str
    source: str
    reason: str
    event_id: str | None = Field(description="the webhook behind it, if any")
    fence: int | None = Field(description="the look at the provider behind it, if any")
    member_id: str | None
    subscription_id: str | None
    before: dict[str, Any] | None = Field(
        description="the account's balance; null before the first row. Its times are spelled as hashed"
    )
    after: dict[str, Any]
    subject_before: dict[str, Any] | None = Field(description="the member or the subscription that moved")
    subject_after: dict[str, Any] | None
    previous: str | None = Field(description="the hash of the account's row before it")
    hash: str


_AS_CSV = {"text/csv; charset=utf-8": {"schema": {"type": "string"}}}


class AuditDocument(ResponseModel):
    # flask-openapi3 reads it: what else the same answer may be.
    model_config = ConfigDict(openapi_extra={"content": _AS_CSV})  # type: ignore[typeddict-unknown-key]

    account_id: str
    since: datetime | None = Field(alias="from")
    until: datetime | None = Field(alias="to")
    rows: list[AuditRowShown]


class ExplainQuery(RequestModel):
    since: Time | None = Field(None, description="what moved the figures from then on; unset: 30 days ago")


class TermShown(ResponseModel):
    seats: SeatCount
    text: str
    catalog: str | None = Field(description="the place in the catalogue; null for last good figures")
    source: str = Field(description="the name of the source that gives it")


class FiguresThen(ResponseModel):
    purchased: SeatCount
    used: int


class TypeExplained(SeatsOfType):
    formula: str = Field(description="purchased, as a sum")
    terms: list[TermShown]
    use: str = Field(description="used and available, as sums")
    before: FiguresThen | None = Field(description="just before `since`; null where nothing was known yet")


class LastChange(ResponseModel):
    audit_id: int
    at: datetime
    actor: str
    source: str
    reason: str
    event_id: str | None = Field(description="the webhook behind it, if any")
    fence: int | None = Field(description="the look at the provider behind it, if any")


class AddonUnits(ResponseModel):
    addon_id: str
    quantity: int


class SubscriptionExplained(ResponseModel):
    product_id: str | None = Field(description="null: nobody has said anything of it yet")
    quantity: int | None
    addons: list[AddonUnits] | None = Field(description="null: not known")
    linked_by: str = Field(description="who said that it belongs to the account")
    verified_at: datetime | None = Field(description="the last look at the provider that was answered")
    verified: bool = Field(description="false: only a webhook vouches for its figures")
    last_change: LastChange | None = Field(description="what gave it the figures it has")


class SourceExplained(ResponseModel):
    kind: SourceKind
    name: str
    gives: bool = Field(description="whether its seats are in the formula")
    because: str
    rule: str | None = Field(description="the place in the catalogue that decides")
    kept: str | None = Field(description="why the last good figures stand, where they do")
    subscription: SubscriptionExplained | None


class FigureMoved(ResponseModel):
    purchased: tuple[SeatCount, SeatCount] = Field(description="before, after")
    used: tuple[int, int] = Field(description="before, after")


class MoveShown(LastChange):
    member_id: str | None
    subscription_id: str | None
    status: tuple[AccountStatus | None, AccountStatus] = Field(description="before, after")
    seats: dict[str, FigureMoved] = Field(description="the seat types whose figures moved")
    text: str = Field(description="what moved, for people")


class MovesShown(ResponseModel):
    since: datetime
    total: int
    rows: list[MoveShown] = Field(description="the newest 100, the oldest of them first")


class PersonExplained(ResponseModel):
    member_id: str
    role: str
    seat_type: str | None
    state: AssignmentState
    reason: str
    since: datetime
    by: LastChange | None = Field(description="what brought the member there")


class PeopleExplained(ResponseModel):
    total: int
    members: list[PersonExplained] = Field(description="the first 100")


class Explained(ResponseModel):
    account_id: str
    status: AccountStatus
    policy: str
    version: int
    as_of: datetime
    is_current: bool = Field(
        description="false: a date has come or the catalogue changed, and the sums are ahead of the figures"
    )
    seats: dict[str, TypeExplained]
    sources: list[SourceExplained]
    moves: MovesShown
    counted: PeopleExplained
    not_counted: PeopleExplained
