"""Requests and responses of the claim calls."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
)

from services.ledger.field_types import Email, Id, Name, NewId
from webhook_app.problems import Problem
from webhook_app.schemas.common import RequestModel, ResponseModel
from webhook_app.schemas.members import Member


class ClaimBody(RequestModel):
    # Values are not converted: the text "yes" is not a boolean.
    model_config = ConfigDict(strict=True)

    member_id: NewId
    role: Id
    email: Email | None = Field(
        None, description="identifies the person too; surrounding whitespace and letter case are ignored"
    )
    name: Name | None = Field(
        None, description="shown when members are chosen for release; erased on request"
    )
    hold: bool = Field(False, description="true: hold the seat for an invitation, which expires")
    protected: bool = Field(False, description="true: released last when seats are reduced")


class BatchBody(RequestModel):
    model_config = ConfigDict(strict=True)

    mode: Literal["all", "each"] = Field(
        description="`all`: all claims or none; `each`: each claim by itself"
    )
    claims: Annotated[list[ClaimBody], Field(min_length=1, max_length=1000)]


class ClaimResult(ResponseModel):
    member_id: str
    status: int = Field(description="the HTTP status that this claim would get by itself")
    assignment: Member | None = None
    problem: Problem | None = None


class BatchResult(ResponseModel):
    mode: Literal["all", "each"]
    granted: int
    waiting: int = Field(description="claims whose seats are held until they are bought")
    refused: int
    results: list[ClaimResult]
