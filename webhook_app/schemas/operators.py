"""Requests and responses of the operators' calls: inbox, drift findings, sync, and service health."""

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
from services.ledger.field_types import Name
from webhook_app.schemas.common import Cursor, Number, PageQuery, RequestModel, ResponseModel


class ProviderPath(BaseModel):
    provider: str


class InboxPath(BaseModel):
    inbox_id: Annotated[Number, Field(ge=1, lt=2**63)]


class FindingPath(BaseModel):
    finding_id: Annotated[Number, Field(ge=1, lt=2**63)]


class DismissBody(RequestModel):
    model_config = ConfigDict(strict=True)

    reason: Name = Field(description="why the finding may be closed; stored with it")


class InboxQuery(PageQuery):
    state: InboxState | None = None
    cursor: Cursor | None = None


class DriftQuery(PageQuery):
    state: FindingState | None = Field(None, description="default: unresolved findings, `open` or `held`")
    cursor: Cursor | None = None


class Received(ResponseModel):
    received: Literal[True]
    duplicate: bool


class Alive(ResponseModel):
    status: Literal["ok"]


class Readiness(ResponseModel):
    status: Literal["ready", "lagging", "outdated"]
    database: Literal["ok"]
    schema_: str = Field(alias="schema", description="revision of the database schema")
    generation: int | None = Field(
        description="number of the catalogue and release in force; null before any account was evaluated"
    )
    evaluates: bool = Field(
        description="false: this process has an older catalogue or release and evaluates no accounts"
    )
    broker: Literal["ok", "away"] = Field(
        description="`away`: unreachable; deliveries are still stored and processed"
    )
    oldest_unprocessed_seconds: float
    longest_untouched_seconds: float = Field(
        description="for the most overdue subscription: seconds since it became due without being leased"
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
    held_because: str | None = Field(description="why the finding is held and not repaired automatically")
    message: str
    first_seen: datetime
    last_seen: datetime
    closed_at: datetime | None
    closed_because: str | None = Field(description="the reason given when it was dismissed")


class DriftPage(ResponseModel):
    findings: list[DriftShown]
    next_cursor: int | None


class SyncWaiting(ResponseModel):
    subscription_id: str
    reason: str | None = Field(description="why the last sync failed, if it did")
    dead: bool = Field(description="true: syncing was given up until the daily verification or a replay")


class Synced(ResponseModel):
    changed: bool
    drift: list[DriftShown]
    waiting: list[SyncWaiting]
