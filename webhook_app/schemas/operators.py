"""The inbox, drift findings and the service's health, as operators see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from domain.drift import LikelyCause
from models.drift_finding import FindingState
from models.inbox import InboxState
from services.ledger.input_types import Name
from webhook_app.schemas.common import Cursor, Number, PageQuery, RequestModel, ResponseModel


class ProviderPath(BaseModel):
    provider: str


class InboxPath(BaseModel):
    inbox_id: Annotated[Number, Field(ge=1, lt=2**63)]


class FindingPath(BaseModel):
    finding_id: Annotated[Number, Field(ge=1, lt=2**63)]


class DismissBody(RequestModel):
    model_config = ConfigDict(strict=True)

    reason: Name = Field(description="why it may be closed; kept with the finding")


class InboxQuery(PageQuery):
    state: InboxState | None = None
    cursor: Cursor | None = None


class DriftQuery(PageQuery):
    state: FindingState | None = Field(None, description="default: those that stand, open or held")
    cursor: Cursor | None = None


class Received(ResponseModel):
    received: Literal[True]
    duplicate: bool


class Alive(ResponseModel):
    status: Literal["ok"]


class Readiness(ResponseModel):
    status: Literal["ready", "lagging", "outdated"]
    database: Literal["ok"]
    schema_: str = Field(alias="schema", description="the revision of the database's schema")
    generation: int | None = Field(description="the generation in force; null before the first evaluation")
    evaluates: bool = Field(description="false: this process is of an older generation")
    broker: Literal["ok", "away"] = Field(description="without it deliveries are still taken and worked off")
    oldest_unprocessed_seconds: float
    longest_untouched_seconds: float = Field(
        description="how long the subscription that has been due longest was touched by no worker"
    )


class InboxShown(ResponseModel):
    id: int
    provider: str
    event_id: str
    type: str
    subscription_id: str | None
    state: InboxState
    reason: str | None
    occurred_at: datetime | None
    received_at: datetime


class InboxPage(ResponseModel):
    events: list[InboxShown]
    next_cursor: int | None


class Replayed(ResponseModel):
    id: int
    state: InboxState


class DriftShown(ResponseModel):
    id: int
    subject: str
    kind: str
    field: str
    ours: str | None
    theirs: str | None
    likely_cause: LikelyCause
    state: FindingState
    held_because: str | None = Field(description="why it is not repaired, if it is held")
    message: str
    first_seen: datetime
    last_seen: datetime
    closed_at: datetime | None
    closed_because: str | None = Field(description="why a person closed it, if its state is `dismissed`")


class DriftPage(ResponseModel):
    findings: list[DriftShown]
    next_cursor: int | None


class SyncWaiting(ResponseModel):
    subscription_id: str
    reason: str | None = Field(description="why the last look failed, if it did")
    dead: bool = Field(
        description="given up on: nobody looks again before the daily verification or a replay"
    )


class Synced(ResponseModel):
    changed: bool
    drift: list[DriftShown]
    waiting: list[SyncWaiting]
