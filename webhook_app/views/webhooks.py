"""The webhook receiver: verify the raw bytes, store them, respond, wake a worker. No business rules."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from flask import Response, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import NotFound

from domain import findings
from domain.provider_errors import InvalidSignature
from models import drift_finding, inbox
from models.inbox import Arrival, InboxState, StoredEvent
from providers.base import Delivery, Event
from runtime.wiring import Runtime
from webhook_app import problems
from webhook_app.auth import public
from webhook_app.context import app_context
from webhook_app.request_body import raw_body
from webhook_app.responses import responses
from webhook_app.routes import Routes
from webhook_app.schemas.operators import ProviderPath, Received

log = logging.getLogger(__name__)

_NEW: Final = b'{"received": true, "duplicate": false}'
_REPEAT: Final = b'{"received": true, "duplicate": true}'

webhooks = Routes("webhooks", tag="Billing provider", is_public=True)


@webhooks.post(
    "/webhooks/<provider>",
    summary="Receive a webhook delivery",
    description="Only for the billing provider, which signs the raw body (Standard Webhooks: `webhook-id`, "
    "`webhook-timestamp`, `webhook-signature`). 202 if the delivery is new, 200 if it is a repeat. "
    "Deliveries that the service cannot use get the same response, since sending them again would not help. "
    "401 if the signature or timestamp is invalid; it gives no details.",
    responses=responses(Received, 400, 401, 404, 413, 415, 503, also=202),
)
@public
def receive(path: ProviderPath) -> Response:
    runtime = app_context().priority_runtime
    if path.provider != runtime.provider.name:
        raise NotFound(
            f"The provider {path.provider!r} is not configured. This service receives webhooks at "
            f"/webhooks/{runtime.provider.name}."
        )
    body = raw_body()  # the signed bytes; never decoded, decompressed or re-serialised
    try:
        delivery = runtime.provider.verify(list(request.headers.items()), body, datetime.now(UTC))
    except InvalidSignature as error:
        app_context().refusals.note(error.reason)
        raise
    event = runtime.provider.read(delivery.body, with_state=False)  # the worker reads the state
    arrival = _arrival(runtime, delivery, event)
    try:
        stored = _store(runtime, arrival, event)
    except SQLAlchemyError as error:
        log.error("delivery not stored", extra={"error": type(error).__name__})  # noqa: TRY400  its text may contain the body
        return problems.response(
            HTTPStatus.SERVICE_UNAVAILABLE, "not_stored", "The delivery could not be stored. Send it again."
        )
    if stored.due_in is not None and arrival.subscription_id is not None:
        app_context().wake_worker(arrival.subscription_id, stored.due_in)
    if not stored.is_new:
        return Response(_REPEAT, HTTPStatus.OK, mimetype="application/json")
    return Response(_NEW, HTTPStatus.ACCEPTED, mimetype="application/json")


def _arrival(runtime: Runtime, delivery: Delivery, event: Event) -> Arrival:
    state, reason = _initial_state(runtime, event)
    return Arrival(
        provider=runtime.provider.name,
        event_id=delivery.event_id,
        type=event.type,
        subscription_id=event.subscription_id,
        occurred_at=event.occurred_at,
        state=state,
        reason=reason,
        body=delivery.body,
    )


def _initial_state(runtime: Runtime, event: Event) -> tuple[InboxState, str | None]:
    """Initial inbox state with its reason: pending, ignored (not about seats, or of another business) or dead
    (unreadable). Pending events have no reason.
    """
    if event.unreadable is not None:
        return InboxState.DEAD, event.unreadable
    if _is_of_other_business(runtime, event):
        return InboxState.IGNORED, f"belongs to business {event.business_id}"
    if not event.concerns_seats:
        return InboxState.IGNORED, f"{event.type} does not concern seats"
    return InboxState.PENDING, None


def _is_of_other_business(runtime: Runtime, event: Event) -> bool:
    ours = runtime.settings.business_id
    return ours is not None and event.business_id is not None and event.business_id != ours


def _store(runtime: Runtime, arrival: Arrival, event: Event) -> StoredEvent:
    if not _is_of_other_business(runtime, event):
        return inbox.store_and_commit(runtime.engine, arrival)
    with runtime.sessions.begin() as session:
        stored = inbox.store(session, arrival)
        if stored.is_new:
            drift_finding.record(
                session, f"business:{event.business_id}", [findings.other_business(event.business_id)]
            )
    return stored
