"""What goes over the wire about checkouts. Unknown request fields are refused."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from providers.fields import LONGEST_URL
from services.ledger.input_types import Email, Id, Name
from webhook_app.schemas.common import RequestModel, ResponseModel, SeatCount
from webhook_app.schemas.seat_changes import AddonShown

_MOST_SEATS = 1_000_000

Seats = Annotated[int, Field(ge=0, le=_MOST_SEATS)]
_A_URL: Final = re.compile(r"https?://[!-~]+")


def _a_url(text: str) -> str:
    if not _A_URL.fullmatch(text):
        raise ValueError("must be a URL that begins with https:// or http://, in visible ASCII characters")
    return text


Url = Annotated[str, StringConstraints(max_length=LONGEST_URL), AfterValidator(_a_url)]


class CustomerBody(RequestModel):
    """A customer the provider knows, or a new one; the rest is asked on the page."""

    customer_id: Id | None = Field(None, description="as the provider knows the customer")
    email: Email | None = Field(None, description="of a new customer")
    name: Name | None = Field(None, description="of a new customer")

    @model_validator(mode="after")
    def _is_one_customer(self) -> Self:
        if (self.customer_id is None) == (self.email is None):
            raise ValueError("must name either customer_id or email")
        if self.customer_id is not None and self.name is not None:
            raise ValueError("takes no name beside customer_id: the provider has it")
        return self


class CheckoutBody(RequestModel):
    model_config = ConfigDict(strict=True)

    product_id: Id
    seats: dict[Id, Seats] = Field(
        {},
        description="purchased seats of each type in all, included ones among them; the others: the minimum",
    )
    return_url: Url | None = Field(None, description="where the page leads once it is paid")
    second_subscription: bool = Field(
        False,
        description="true: a further subscription is meant, beside one that the account pays for already",
    )
    customer: CustomerBody | None = Field(None, description="unset: asked on the page")


class CheckoutOpened(ResponseModel):
    checkout_url: str
    session_id: str
    product_id: str
    quantity: int
    addons: list[AddonShown]
    seats: dict[str, SeatCount] = Field(
        description="purchased seats of each type once it is paid; more than wanted where packs give no fewer"
    )
