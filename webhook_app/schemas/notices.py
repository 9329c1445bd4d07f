"""Requests and responses of the calls for notices and their endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from domain.notices import NoticeType
from models.notice import DeliveryState
from services.ledger.field_types import Id
from services.notices.safe_urls import LONGEST_URL
from webhook_app.schemas.common import Cursor, Number, PageQuery, RequestModel, ResponseModel


class EndpointPath(BaseModel):
    endpoint_id: Id


class NoticePath(BaseModel):
    notice_id: Annotated[Number, Field(ge=1, lt=2**63)]


class NoticesQuery(PageQuery):
    state: DeliveryState | None = Field(None, description="notices with at least one delivery in this state")
    account_id: Id | None = None
    cursor: Cursor | None = None


class EndpointBody(RequestModel):
    url: Annotated[str, Field(min_length=1, max_length=LONGEST_URL)]
    types: Annotated[list[NoticeType], Field(min_length=1, max_length=len(NoticeType))] | None = Field(
        None, description="default: all"
    )


class EndpointShown(ResponseModel):
    endpoint_id: str
    url: str
    types: list[NoticeType] | None = Field(description="null: all")
    created_at: datetime
    rotated_at: datetime | None = Field(
        description="for 24 hours from then on, the previous secret signs as well"
    )
    disabled_at: datetime | None = Field(
        description="when the endpoint answered 410; nothing is sent to it since"
    )


class EndpointWithSecret(EndpointShown):
    secret: str = Field(description="`whsec_...`; shown only in this response")


class Endpoints(ResponseModel):
    endpoints: list[EndpointShown]


class EndpointDeleted(ResponseModel):
    endpoint_id: str
    deleted: bool = Field(description="false: there was no such endpoint")


class DeliveryShown(ResponseModel):
    endpoint_id: str
    state: DeliveryState
    attempts: int
    next_at: datetime | None = Field(description="null: no further attempt")
    last_error: str | None
    delivered_at: datetime | None


class NoticeShown(ResponseModel):
    id: int
    message_id: str = Field(description="the `webhook-id` of its deliveries")
    account_id: str | None
    type: NoticeType
    data: dict[str, Any]
    created_at: datetime
    deliveries: list[DeliveryShown]


class Notices(ResponseModel):
    notices: list[NoticeShown]
    next_cursor: int | None


class Resent(ResponseModel):
    id: int
    deliveries: int = Field(description="number of endpoints to which it is sent")
