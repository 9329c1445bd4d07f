"""Requests and responses of the audit and of the explanation of figures."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from domain.explain import SourceKind
from models.account import AccountStatus
from models.assignment import AssignmentState
from services.ledger.field_types import Time
from services.reports.audit_export import Format
from webhook_app.schemas.common import RequestModel, ResponseModel, SeatCount
from webhook_app.schemas.seats import SeatsOfType


class AuditQuery(RequestModel):
    since: Time | None = Field(None, alias="from", description="rows written at or after this time")
    until: Time | None = Field(None, alias="to", description="rows written before this time")
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
    event_id: str | None = Field(description="the webhook event that caused it, if any")
    fence: int | None = Field(description="fencing token of the sync that caused it, if any")
    member_id: str | None
    subscription_id: str | None
    before: dict[str, Any] | None = Field(
        description="the account's seats before the change; null in the first row. Times as in the hash"
    )
    after: dict[str, Any] = Field(description="the account's seats after the change")
    subject_before: dict[str, Any] | None = Field(description="the member or subscription that changed")
    subject_after: dict[str, Any] | None
    previous: str | None = Field(description="hash of the account's previous row")
    hash: str


_AS_CSV = {"text/csv; charset=utf-8": {"schema": {"type": "string"}}}


class AuditDocument(ResponseModel):
    # Read by flask-openapi3: the response may also be CSV.
    model_config = ConfigDict(openapi_extra={"content": _AS_CSV})  # type: ignore[typeddict-unknown-key]

    account_id: str
    since: datetime | None = Field(alias="from")
    until: datetime | None = Field(alias="to")
    rows: list[AuditRowShown]


class ExplainQuery(RequestModel):
    since: Time | None = Field(None, description="start of the listed changes; default: 30 days ago")


class TermShown(ResponseModel):
    seats: SeatCount
    text: str
    catalog: str | None = Field(
        description="the place in the catalogue; null if the last good figures are used"
    )
    source: str = Field(description="name of the source that gives these seats")


class FiguresThen(ResponseModel):
    purchased: SeatCount
    used: int


class TypeExplained(SeatsOfType):
    formula: str = Field(description="`purchased`, written as a sum")
    terms: list[TermShown]
    use: str = Field(description="`used` and `available`, written as sums")
    before: FiguresThen | None = Field(description="just before `since`; null if nothing was known then")


class LastChange(ResponseModel):
    audit_id: int
    at: datetime
    actor: str
    source: str
    reason: str
    event_id: str | None = Field(description="the webhook event that caused it, if any")
    fence: int | None = Field(description="fencing token of the sync that caused it, if any")


class AddonUnits(ResponseModel):
    addon_id: str
    quantity: int


class SubscriptionExplained(ResponseModel):
    product_id: str | None = Field(description="null: not known yet")
    quantity: int | None
    addons: list[AddonUnits] | None = Field(description="null: not known")
    linked_by: str = Field(description="how the subscription was assigned to the account")
    verified_at: datetime | None = Field(description="the last successful sync with the provider")
    verified: bool = Field(
        description="false: the figures come from a webhook and no sync has confirmed them yet"
    )
    last_change: LastChange | None = Field(description="the change that set its current figures")


class SourceExplained(ResponseModel):
    kind: SourceKind
    name: str
    gives: bool = Field(description="true: its seats are in the formula")
    because: str
    rule: str | None = Field(description="the place in the catalogue that decides this")
    kept: str | None = Field(description="why the last good figures are used, if they are")
    subscription: SubscriptionExplained | None


class FigureMoved(ResponseModel):
    purchased: tuple[SeatCount, SeatCount] = Field(description="before, after")
    used: tuple[int, int] = Field(description="before, after")


class MoveShown(LastChange):
    member_id: str | None
    subscription_id: str | None
    status: tuple[AccountStatus | None, AccountStatus] = Field(description="before, after")
    seats: dict[str, FigureMoved] = Field(description="the seat types whose figures changed")
    text: str = Field(description="the change as text")


class MovesShown(ResponseModel):
    since: datetime
    total: int
    rows: list[MoveShown] = Field(description="the newest 100, oldest first")


class PersonExplained(ResponseModel):
    member_id: str
    role: str
    seat_type: str | None
    state: AssignmentState
    reason: str
    since: datetime
    by: LastChange | None = Field(description="the change that led to this state")


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
        description="false: a deadline has passed or the catalogue has changed, and the stored figures do "
        "not show it yet"
    )
    seats: dict[str, TypeExplained]
    sources: list[SourceExplained]
    moves: MovesShown
    counted: PeopleExplained
    not_counted: PeopleExplained
