"""Requests and responses of the calls for members."""

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
from services.ledger.field_types import Email, Id, Name, NewId, Time
from webhook_app.schemas.common import Cursor, Number, PageQuery, RequestModel, ResponseModel, SeatCount


class MemberPath(BaseModel):
    account_id: Id
    member_id: Id


class MembersQuery(PageQuery):
    member_id: Id | None = None
    email: Email | None = Field(None, description="letter case and surrounding whitespace are ignored")
    state: AssignmentState | None = Field(None, description="default: all except released")
    role: Id | None = None
    type: Id | None = Field(None, description="a seat type, or `free`")
    at: Time | None = Field(
        None, description="list the members as of this time, from the audit; ISO 8601 with an offset"
    )
    cursor: Cursor | None = None


class LeaversQuery(RequestModel):
    type: Id | None = Field(None, description="a seat type; default: all")
    to: Annotated[Number, Field(ge=0, lt=2**63)] | None = Field(
        None, description="number of seats after the reduction; default: the purchased seats"
    )


class MemberChange(RequestModel):
    """The fields to change, at least one. Absent fields keep their values."""

    role: Id | None = Field(None, description="a role of another seat type moves the seat in one step")
    state: Literal["active", "held", "suspended"] | None = Field(
        None,
        description="`active` confirms an invitation or reactivates a suspended member; `held` renews an "
        "invitation; `suspended` frees the seat and keeps the member",
    )
    protected: StrictBool | None = None
    name: Name | None = None
    email: Email | None = None
    last_active_at: Time | None = Field(None, description="stored only if it is later than the stored time")

    @model_validator(mode="after")
    def _has_a_field(self) -> Self:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError("must have at least one field to change")
        return self


class RenameBody(RequestModel):
    model_config = ConfigDict(strict=True)

    member_id: NewId = Field(description="the new id of the member")


class Member(ResponseModel):
    member_id: str
    role: str
    seat_type: str | None = Field(description="null: the role is free and takes no seat")
    state: AssignmentState
    occupies_seat: bool
    awaits_purchase: bool = Field(description="true: the seat is held until it is bought")
    reason: str = Field(description="why the member counts as a seat holder, or does not")
    name: str | None
    email: str | None
    protected: bool
    claimed_at: datetime
    last_active_at: datetime | None = Field(description="as the app reported it")
    expires_at: datetime | None
    released_at: datetime | None
    warnings: list[str] = Field(
        [],
        description="absent if there are none. A role that the catalogue has only in other letter case or "
        "whitespace is treated like `*`, and this warns of it",
    )


class Members(ResponseModel):
    members: list[Member]
    next_cursor: int | None


class Released(ResponseModel):
    member_id: str
    released: bool = Field(description="false: the member had no seat")


class LeaverShown(ResponseModel):
    place: int = Field(description="1 would be released first")
    member_id: str
    name: str | None
    role: str
    state: Literal["active", "held"]
    protected: bool
    claimed_at: datetime
    last_active_at: datetime | None = Field(description="as the app reported it")
    reason: str = Field(description="why the member has this place")


class LeaversOfType(ResponseModel):
    used: int
    purchased: SeatCount
    target: SeatCount
    total: int = Field(description="how many would have to leave, whether listed or not")
    leavers: list[LeaverShown] = Field(description="the first 1000")


class Leavers(ResponseModel):
    account_id: str
    order: str
    seat_types: dict[str, LeaversOfType]
