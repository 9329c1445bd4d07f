"""Request and response of the customer portal call."""

from __future__ import annotations

from pydantic import Field

from services.ledger.field_types import Id
from webhook_app.schemas.checkout import Url
from webhook_app.schemas.common import RequestModel, ResponseModel


class PortalBody(RequestModel):
    subscription_id: Id | None = Field(
        None, description="opens the portal of the customer who pays for it; needed if several customers pay"
    )
    return_url: Url | None = Field(
        None, description="where the portal leads back to; default: as set at the provider"
    )


class PortalOpened(ResponseModel):
    url: str = Field(description="whoever has it acts as the customer, for 24 hours; redirect to it at once")
    customer_id: str
