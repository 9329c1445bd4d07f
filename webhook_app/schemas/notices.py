"""What goes over the wire about notices. Unknown request fields are refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from domain.notices import NoticeType
from models.notice import DeliveryState
from services.ledger.input_types import Id
from services.notices.safe_urls import LONGEST_URL
from webhook_app.schemas.common import Cursor, Number, PageQuery, RequestModel, ResponseModel


class EndpointPath(BaseModel):
    endpoint_id: Id


class NoticePath(BaseModel):
    notice_id: Annotated[Number, Field(ge=1, lt=2**63)]


class NoticesQuery(PageQuery):
    state: DeliveryState | None = Field(None, description="that of one of the notice's deliveries")
    account_id: Id | None = None
    cursor: Cursor | None = None


class EndpointBody(RequestModel):
    url: Annotated[str, Field(min_length=1, max_length=LONGEST_URL)]
    types: Annotated[list[NoticeType], Field(min_length=1, max_length=len(NoticeType))] | None = Field(
        None, description="unset: all"
    )


class EndpointShown(ResponseModel):
    endpoint_id: str
    url: str
    types: list[NoticeType] | None = Field(description="null: all")
    created_at: datetime
    rotated_at: datetime | None = Field(description="the secret before this signs as well for 24 hours")
    disabled_at: datetime | None = Field(description="it answered 410 and gets nothing any more")


class EndpointWithSecret(EndpointShown):
    secret: str = Field(description="`whsec_...`, shown this once")


class Endpoints(ResponseModel):
    endpoints: list[EndpointShown]


class EndpointDeleted(ResponseModel):
    endpoint_id: str
    deleted: bool = Field(description="false: there was none")


class DeliveryShown(ResponseModel):
    endpoint_id: str
    state: DeliveryState
    attempts: int
    next_at: datetime | None = Field(description="null: nothing more is tried")
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
    deliveries: int = Field(description="to how many endpoints it is sent")
