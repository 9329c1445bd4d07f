"""Events and the bodies of their deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from simulator.billing import bodies
from simulator.billing.subscription import Subscription
from simulator.json_text import encode, wire_time


class EventType(StrEnum):
    """The twelve subscription events. There is no `subscription.created`."""

    ACTIVE = "subscription.active"
    RENEWED = "subscription.renewed"
    PLAN_CHANGED = "subscription.plan_changed"
    UPDATED = "subscription.updated"
    ON_HOLD = "subscription.on_hold"
    PAST_DUE = "subscription.past_due"
    PAUSED = "subscription.paused"
    UNPAUSED = "subscription.unpaused"
    CANCELLED = "subscription.cancelled"
    FAILED = "subscription.failed"
    EXPIRED = "subscription.expired"
    UPDATE_PAYMENT_METHOD = "subscription.update_payment_method"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event.

    `subscription` is the state when it occurred. `data` is the fixed data of events of other kinds. `raw`
    replaces the whole body, to test receivers with signed but malformed bodies.
    """

    type: str
    occurred_at: datetime
    business_id: str
    subscription: Subscription | None = None
    payment_id: str | None = None
    data: Mapping[str, object] | None = None
    raw: str | None = None


def body_of(event: Event, subscription: Subscription | None) -> bytes:
    """The body to sign: the event's type and time, and the state that is passed in."""
    if event.raw is not None:
        return event.raw.encode()
    data = event.data
    if data is None and subscription is not None:
        data = bodies.webhook_data(subscription, event.payment_id)
    return encode(
        {
            "business_id": event.business_id,
            "type": event.type,
            "timestamp": wire_time(event.occurred_at),
            "data": data,
        }
    )
