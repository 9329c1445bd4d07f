"""Requests and responses of the calls that estimate prices."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from domain.purchase.plan import LineKind
from services.ledger.field_types import Id
from webhook_app.schemas.common import RequestModel, ResponseModel, SeatCount
from webhook_app.schemas.seat_changes import CartShown, MoneyShown, StepShown

_MOST_SEATS: Final = 1_000_000
_PAIR: Final = re.compile(r"([^:,\s]{1,100}):([0-9]{1,7})")


def _seats(value: object) -> object:
    """`full:12,viewer:3` as numbers by seat type."""
    if not isinstance(value, str):
        return value
    seats: dict[str, int] = {}
    for part in value.split(","):
        pair = _PAIR.fullmatch(part)
        if pair is None:
            raise ValueError("must be seat types with whole numbers, such as full:12,viewer:3")
        name, number = pair[1], int(pair[2])
        if name in seats:
            raise ValueError("names a seat type more than once")
        if number > _MOST_SEATS:
            raise ValueError(f"must ask for at most {_MOST_SEATS} seats of a type")
        seats[name] = number
    return seats


Seats = Annotated[
    dict[str, int],
    BeforeValidator(_seats),
    WithJsonSchema({"type": "string", "pattern": "^[^:,\\s]+:[0-9]+(,[^:,\\s]+:[0-9]+)*$"}),
]
_NONE: Final[Any] = {}


class ProductPath(BaseModel):
    product_id: Id


class ProductPricesQuery(RequestModel):
    seats: Seats = Field(
        _NONE, description="total seats per type, such as `full:12,viewer:3`; of types not named, the minimum"
    )


class AccountPricesQuery(RequestModel):
    seats: Seats = Field(
        _NONE,
        description="total purchased seats per type, such as `full:12,viewer:3`; of types not named, those "
        "of the account now",
    )
    product_id: Id | None = Field(None, description="another product to change to; default: the present one")
    subscription_id: Id | None = Field(None, description="default: the account's only active subscription")


class PriceLineShown(ResponseModel):
    kind: LineKind
    id: str = Field(description="of the product or the add-on at the provider")
    name: str | None = Field(description="as the provider names it; null if it is no longer sold")
    quantity: int
    unit_price: MoneyShown | None = Field(description="per billing period; null if unknown")
    amount: MoneyShown | None = Field(description="unit price times quantity")
    seats: dict[str, SeatCount] = Field(description="the seats that this line gives, per type")


class BillingPeriod(ResponseModel):
    interval: str | None = Field(description="`Day`, `Week`, `Month` or `Year`; null if unknown")
    count: int | None


class PricesShown(ResponseModel):
    binding: Literal[False] = Field(
        description="an estimate from list prices; the preview of a seat change states the provider's own "
        "figures, from which the charge may differ by a few cents"
    )
    account_id: str | None = Field(description="null for a first purchase")
    subscription_id: str | None
    product_id: str
    product_name: str = Field(description="as in the catalogue")
    seats: dict[str, StepShown] = Field(
        description="seats of the subscription per type, now and with this cart; packs may give more"
    )
    cart: CartShown = Field(description="the cart that would be bought")
    cart_now: CartShown | None = Field(description="the present cart; null for a first purchase")
    lines: list[PriceLineShown]
    price: MoneyShown | None = Field(
        description="list price of the cart per billing period; null if the price of an item is unknown"
    )
    price_now: MoneyShown | None = Field(description="list price of the present cart per billing period")
    difference: MoneyShown | None = Field(
        description="how much more than now per billing period; null if the periods or currencies differ"
    )
    billing_period: BillingPeriod
    tax: Literal["included", "excluded"] | None = Field(
        description="whether the prices contain the tax; null if unknown"
    )
    minimum: dict[str, int]
    maximum: dict[str, int]
    sentence: str = Field(description="a summary that may be shown to the customer")
    prices_read_at: datetime = Field(description="when the list prices were read from the provider")
    prices_age_seconds: int
    verified_at: datetime | None = Field(
        description="when the present cart was last read from the provider; null for a first purchase"
    )
