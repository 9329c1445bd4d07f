"""Requests and responses of the checkout call."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from providers.fields import LONGEST_URL
from services.ledger.field_types import Email, Id, Name
from webhook_app.schemas.common import RequestModel, ResponseModel, SeatCount
from webhook_app.schemas.seat_changes import AddonShown

_MOST_SEATS = 1_000_000

Seats = Annotated[int, Field(ge=0, le=_MOST_SEATS)]
_A_URL: Final = re.compile(r"https?://[!-~]+")


def _valid_url(text: str) -> str:
    if not _A_URL.fullmatch(text):
        raise ValueError("must be a URL that begins with https:// or http://, in visible ASCII characters")
    return text


Url = Annotated[str, StringConstraints(max_length=LONGEST_URL), AfterValidator(_valid_url)]


class CustomerBody(RequestModel):
    """A customer known to the provider, or a new one. The checkout page asks for everything else."""

    customer_id: Id | None = Field(None, description="the provider's customer id")
    email: Email | None = Field(None, description="of a new customer")
    name: Name | None = Field(None, description="of a new customer")

    @model_validator(mode="after")
    def _is_one_customer(self) -> Self:
        if (self.customer_id is None) == (self.email is None):
            raise ValueError("must have either customer_id or email, and not both")
        if self.customer_id is not None and self.name is not None:
            raise ValueError("must not have a name with customer_id: the provider knows it")
        return self


class CheckoutBody(RequestModel):
    model_config = ConfigDict(strict=True)

    product_id: Id
    seats: dict[Id, Seats] = Field(
        {},
        description="total seats per type, including those in the base plan; types not named: the minimum",
    )
    return_url: Url | None = Field(None, description="where the customer is sent after the payment")
    second_subscription: bool = Field(
        False,
        description="true: create a second subscription for an account that already has one",
    )
    customer: CustomerBody | None = Field(None, description="default: the checkout page asks for it")


class CheckoutOpened(ResponseModel):
    checkout_url: str
    session_id: str
    product_id: str
    quantity: int
    addons: list[AddonShown]
    seats: dict[str, SeatCount] = Field(
        description="seats per type after the payment; packs may give more than requested"
    )
