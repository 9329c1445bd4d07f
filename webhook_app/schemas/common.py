"""Models shared by requests and responses: paths, pages, numbers. Unknown fields are refused in both."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from services.ledger.field_types import Id

_A_NUMBER: Final = re.compile(r"-?[0-9]{1,20}")


def _in_digits(value: object) -> object:
    """Accept digits only: `int` would also accept `1_000`, `+1`, ` 1 ` and `1.0`."""
    if isinstance(value, str) and not _A_NUMBER.fullmatch(value):
        raise ValueError("must be a whole number, in digits")
    return value


Number = Annotated[int, BeforeValidator(_in_digits)]
"""A number in a path or a query."""

Cursor = Annotated[Number, Field(ge=0, lt=2**63)]


SeatCount = int | Literal["unlimited"]


class RequestModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ResponseModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AccountPath(BaseModel):
    account_id: Id


class SubscriptionPath(BaseModel):
    subscription_id: Id


class NoQuery(RequestModel):
    """The query of a call without query parameters: any parameter is refused, not ignored."""


class PageQuery(RequestModel):
    limit: Annotated[Number, Field(ge=1, le=200)] = 50
