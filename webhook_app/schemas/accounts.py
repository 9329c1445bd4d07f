"""Requests and responses of the calls for accounts, their rules and their linked subscriptions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictBool,
    StrictInt,
)

from domain import policies
from models.account import AccountStatus
from services.ledger.field_types import Id, NewId
from webhook_app.schemas.common import PageQuery, RequestModel, ResponseModel


class NewAccountPath(BaseModel):
    account_id: NewId


class LinkPath(BaseModel):
    account_id: NewId
    subscription_id: NewId


class AccountsQuery(PageQuery):
    status: AccountStatus | None = None
    cursor: Id | None = Field(None, description="`next_cursor` of the previous page")


class PolicyBody(RequestModel):
    """The account's own rules. For a field that is absent or null, the catalogue applies."""

    policy: PolicyName | None = None
    grace_days: Annotated[StrictInt, Field(ge=0, le=365)] | None = None
    suspend_after_grace: StrictBool | None = None
    hold_days: Annotated[StrictInt, Field(ge=1, le=365)] | None = None
    seat_types: dict[Id, PolicyName] = Field({}, description="policies of single seat types, by seat type")


class PurchasesResumed(ResponseModel):
    account_id: str
    failures_forgiven: int = Field(description="how many consecutive failed purchases were reset")


class SeatRulesShown(ResponseModel):
    policy: str
    grace_days: int
    suspend_after_grace: bool
    hold_days: int


class PolicyInForce(ResponseModel):
    account_id: str
    policy: str
    seat_types: dict[str, str] = Field(description="policies of the seat types that differ from `policy`")
    grace_days: int
    suspend_after_grace: bool
    payment_grace_days: int
    hold_days: int
    rules: dict[str, SeatRulesShown] = Field(description="the rules in force, by seat type")
    override: dict[str, Any] | None = Field(
        description="the rules that the app set; all others come from the catalogue"
    )


class AccountShown(ResponseModel):
    account_id: str
    status: AccountStatus
    policy: str
    version: int
    created_at: datetime


class Accounts(ResponseModel):
    accounts: list[AccountShown]
    next_cursor: str | None


class Linked(ResponseModel):
    account_id: str
    subscription_id: str
    changed: bool


class AccountDeleted(ResponseModel):
    account_id: str
    deleted: Literal[True]


def _policy(name: str) -> str:
    if name not in policies.names():
        raise ValueError(f"must be one of {', '.join(policies.names())}")
    return name


PolicyName = Annotated[str, AfterValidator(_policy)]
