"""Requests and responses of the seat change calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.billing_terms import Proration, When
from domain.purchase.plan import LineKind
from models.seat_change import ChangeState
from services.ledger.field_types import Id
from webhook_app.schemas.common import RequestModel, ResponseModel, SeatCount

_MOST_SEATS = 1_000_000


class ChangePath(BaseModel):
    account_id: Id
    change_id: Id


class PreviewBody(RequestModel):
    seats: dict[Id, Annotated[int, Field(ge=0, le=_MOST_SEATS, strict=True)]] = Field(
        {},
        description="total purchased seats per type after the change; types not named stay unchanged. May be "
        "left out with `product_id`",
    )
    product_id: Id | None = Field(
        None,
        description="the product to change to; seats that are not named are carried over. Default: the "
        "present product",
    )
    subscription_id: Id | None = Field(None, description="default: the account's only active subscription")
    when: When | None = Field(None, description="default: increases now, reductions as the catalogue says")
    proration: Proration | None = Field(None, description="default: as the catalogue says")
    release: Annotated[list[Id], Field(max_length=10_000)] | Literal["suggested"] = Field(
        [], description="member ids to release with the change, or `suggested` for the usual order"
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.seats and self.product_id is None:
            raise ValueError("must have seats, or a product_id to change to")
        return self


class ConfirmBody(RequestModel):
    token: Annotated[str, Field(min_length=1, max_length=100)]


class StepShown(ResponseModel):
    before: SeatCount
    after: SeatCount


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


class ProductShown(ResponseModel):
    product_id: str
    name: str = Field(description="as in the catalogue")
    policy: str = Field(description="what happens to a claim beyond the limit, by the catalogue")


class ProductsShown(ResponseModel):
    before: ProductShown
    after: ProductShown


class LineShown(ResponseModel):
    kind: LineKind
    name: str | None = Field(description="as the provider names it")
    quantity: int | None
    unit_price: MoneyShown | None
    share: float | None = Field(
        description="the part of a billing period: 1 is a whole one, a negative share is credited"
    )
    tax: MoneyShown | None
    tax_inclusive: bool | None = Field(description="whether the unit price contains the tax")


class ProratedDaysShown(ResponseModel):
    days: int = Field(description="unused days of the current billing period")
    of: int = Field(description="all days of the current billing period")


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
    product: ProductsShown | None = Field(None, description="null in changes of earlier releases")
    lost_seat_types: list[str] = Field([], description="seat types that the new product does not sell")
    dropped_addons: list[str] = Field(
        [], description="ids of add-ons without seats that are not sold with the new product"
    )
    charged_now: MoneyShown = Field(description="including tax, after credit")
    lines: list[LineShown] = Field([], description="what the charge consists of, as the provider lists it")
    prorated_days: ProratedDaysShown | None = Field(
        None, description="the days that the provider prorates; null if nothing is prorated"
    )
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
