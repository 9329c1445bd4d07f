"""Events about money, as the provider's webhooks bring them."""

from __future__ import annotations

from itertools import count
from typing import Any

import orjson

from models import inbox
from models.inbox import InboxState
from models.seat_change import SeatChange
from runtime.wiring import Runtime
from tests.factories import an_arrival

_numbers = count(1)


def announced(service: Runtime, event_type: str, subscription_id: str, **data: Any) -> InboxState:
    """The event is stored as the receiver does it; in which state."""
    body = orjson.dumps({"type": event_type, "data": {"subscription_id": subscription_id, **data}})
    event = service.provider.read(body, with_state=False)
    state = InboxState.PENDING if event.concerns_seats else InboxState.IGNORED
    with service.sessions.begin() as session:
        inbox.store(
            session,
            an_arrival(
                f"msg_money_{next(_numbers)}",
                type=event.type,
                subscription_id=event.subscription_id,
                state=state,
                reason=None if state is InboxState.PENDING else "does not concern seats",
                body=body,
            ),
        )
    return state


def payment_failed(service: Runtime, change: SeatChange, **data: Any) -> InboxState:
    facts = {"metadata": {"seatsync_change_id": change.id}, "error_code": "INSUFFICIENT_FUNDS", **data}
    return announced(service, "payment.failed", facts.pop("subscription_id", change.subscription_id), **facts)
