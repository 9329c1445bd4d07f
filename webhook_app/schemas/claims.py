"""Claims, as they are asked for and answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
)

from services.ledger.input_types import Email, Id, Name, NewId
from webhook_app.problems import Problem
from webhook_app.schemas.common import RequestModel, ResponseModel
from webhook_app.schemas.members import Member


class ClaimBody(RequestModel):
    # JSON has types of its own: "yes" is no boolean.
    model_config = ConfigDict(strict=True)

    member_id: NewId
    role: Id
    email: Email | None = Field(None, description="outer blanks and letter case do not make another person")
    name: Name | None = Field(None, description="for people who choose who leaves; erased on request")
    hold: bool = Field(False, description="keep the seat for an invitation; it lapses by itself")
    protected: bool = Field(False, description="the last to leave when seats are reduced")


class BatchBody(RequestModel):
    model_config = ConfigDict(strict=True)

    mode: Literal["all", "each"] = Field(description="`all`: all or none; `each`: every claim for itself")
    claims: Annotated[list[ClaimBody], Field(min_length=1, max_length=1000)]


class ClaimResult(ResponseModel):
    member_id: str
    status: int = Field(description="what the claim alone would have been answered")
    assignment: Member | None = None
    problem: Problem | None = None


class BatchResult(ResponseModel):
    mode: Literal["all", "each"]
    granted: int
    waiting: int = Field(description="held until their seats are bought")
    refused: int
    results: list[ClaimResult]
