"""Requests and responses of the seat change calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.billing_terms import Proration, When
from models.seat_change import ChangeState
from services.ledger.field_types import Id
from webhook_app.schemas.common import RequestModel, ResponseModel

_MOST_SEATS = 1_000_000


class ChangePath(BaseModel):
    account_id: Id
    change_id: Id


class PreviewBody(RequestModel):
    seats: Annotated[
        dict[Id, Annotated[int, Field(ge=0, le=_MOST_SEATS, strict=True)]], Field(min_length=1)
    ] = Field(description="total purchased seats per type after the change; types not named stay unchanged")
    subscription_id: Id | None = Field(None, description="default: the account's only active subscription")
    when: When | None = Field(None, description="default: increases now, reductions as the catalogue says")
    proration: Proration | None = Field(None, description="default: as the catalogue says")
    release: Annotated[list[Id], Field(max_length=10_000)] | Literal["suggested"] = Field(
        [], description="member ids to release with the change, or `suggested` for the usual order"
    )


class ConfirmBody(RequestModel):
    token: Annotated[str, Field(min_length=1, max_length=100)]


class StepShown(ResponseModel):
    before: int
    after: int


class MoneyShown(ResponseModel):
    amount: int = Field(description="in the smallest unit of the currency")
    currency: str
    text: str = Field(description="formatted, such as `25.00 USD`")


class AddonShown(ResponseModel):
    addon_id: str
    quantity: int


class CartShown(ResponseModel):
    product_id: str
    quantity: int
    addons: list[AddonShown]


class CartsShown(ResponseModel):
    before: CartShown
    after: CartShown


class HistoryStep(ResponseModel):
    state: ChangeState
    at: datetime
    message: str | None


class ChangeShown(ResponseModel):
    model_config = ConfigDict(extra="forbid")

    change_id: str
    state: ChangeState
    subscription_id: str
    seats: dict[str, StepShown]
    when: When
    proration: Proration
    release: list[str]
    confirmed_by: str | None
    automatic: bool = Field(description="true: bought automatically for pending claims (`auto_expand`)")
    cart: CartsShown = Field(description="the whole cart; items not in it are removed")
    charged_now: MoneyShown = Field(description="including tax, after credit")
    tax: MoneyShown | None
    credit: MoneyShown | None = Field(description="credit the customer gains; negative: credit used")
    renewal: MoneyShown | None = Field(description="per billing period after the change, before tax")
    renewal_before: MoneyShown | None = Field(
        None, description="per billing period before the change, before tax"
    )
    next_billing_date: datetime | None
    billing_date_moves: bool
    minimum: dict[str, int]
    maximum: dict[str, int]
    sentence: str = Field(description="a summary that may be shown to the customer")
    code: str | None = Field(description="why it failed, or what is still unknown")
    message: str | None
    retry_helps: bool | None
    created_at: datetime
    expires_at: datetime = Field(description="a preview can be confirmed until then")
    sent_at: datetime | None
    history: list[HistoryStep]


class ChangePreviewed(ChangeShown):
    token: str = Field(description="confirms exactly this change; shown only in this response")


class ChangesShown(ResponseModel):
    seat_changes: list[ChangeShown]
