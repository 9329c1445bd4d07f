"""Members, as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    model_validator,
)

from models.assignment import AssignmentState
from services.ledger.input_types import Email, Id, Name, NewId, Time
from webhook_app.schemas.common import Cursor, Number, PageQuery, RequestModel, ResponseModel, SeatCount


class MemberPath(BaseModel):
    account_id: Id
    member_id: Id


class MembersQuery(PageQuery):
    member_id: Id | None = None
    email: Email | None = Field(None, description="in any spelling of the address")
    state: AssignmentState | None = Field(None, description="unset: all but released")
    role: Id | None = None
    type: Id | None = Field(None, description="a seat type, or `free`")
    cursor: Cursor | None = None


class LeaversQuery(RequestModel):
    type: Id | None = Field(None, description="a seat type; unset: all of them")
    to: Annotated[Number, Field(ge=0, lt=2**63)] | None = Field(
        None, description="so many seats to come down to; unset: what is purchased now"
    )


class MemberChange(RequestModel):
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


class RenameBody(RequestModel):
    model_config = ConfigDict(strict=True)

    member_id: NewId = Field(description="the id that the member has from now on")


class Member(ResponseModel):
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


class Members(ResponseModel):
    members: list[Member]
    next_cursor: int | None


class Released(ResponseModel):
    member_id: str
    released: bool = Field(description="false: there was no seat to free")


class LeaverShown(ResponseModel):
    place: int = Field(description="1 leaves first")
    member_id: str
    name: str | None
    role: str
    state: Literal["active", "held"]
    protected: bool
    claimed_at: datetime
    last_active_at: datetime | None = Field(description="as the app reported it")
    reason: str = Field(description="why the member has that place")


class LeaversOfType(ResponseModel):
    used: int
    purchased: SeatCount
    target: SeatCount
    total: int = Field(description="so many would have to leave, listed or not")
    leavers: list[LeaverShown] = Field(description="the first 1000 of them")


class Leavers(ResponseModel):
    account_id: str
    order: str
    seat_types: dict[str, LeaversOfType]
