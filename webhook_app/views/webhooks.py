"""The receiver: verify the raw bytes, keep them, commit, answer, ring. No business rule lives here."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from flask import Response, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import NotFound

from domain import findings
from domain.errors import InvalidSignature
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
    summary="Take a delivery in",
    description="For the billing provider alone: the raw body is signed (Standard Webhooks: `webhook-id`, "
    "`webhook-timestamp`, `webhook-signature`). 202 new, 200 repeat; also for what we cannot use, "
    "since sending it again would help nobody. 401 says no more than that it is not authentic.",
    responses=responses(Received, 400, 401, 404, 413, 415, 503, also=202),
)
@public
def receive(path: ProviderPath) -> Response:
    runtime = app_context().priority_runtime
    if path.provider != runtime.provider.name:
        raise NotFound(
            f"No provider {path.provider!r} is known here; this service listens at "
            f"/webhooks/{runtime.provider.name}."
        )
    body = raw_body()  # as it was signed; never decoded, unpacked or re-serialised
    try:
        delivery = runtime.provider.verify(list(request.headers.items()), body, datetime.now(UTC))
    except InvalidSignature as error:
        app_context().refusals.note(error.reason)
        raise
    event = runtime.provider.read(delivery.body, with_state=False)  # the worker's to look at
    arrival = _arrival(runtime, delivery, event)
    try:
        kept = _keep(runtime, arrival, event)
    except SQLAlchemyError as error:
        log.error("delivery not stored", extra={"error": type(error).__name__})  # noqa: TRY400  may hold the body
        return problems.response(
            HTTPStatus.SERVICE_UNAVAILABLE, "not_stored", "The delivery could not be stored. Send it again."
        )
    if kept.due_in is not None and arrival.subscription_id is not None:
        app_context().ring(arrival.subscription_id, kept.due_in)
    if not kept.is_new:
        return Response(_REPEAT, HTTPStatus.OK, mimetype="application/json")
    return Response(_NEW, HTTPStatus.ACCEPTED, mimetype="application/json")


def _arrival(runtime: Runtime, delivery: Delivery, event: Event) -> Arrival:
    state, reason = _fate(runtime, event)
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


def _fate(runtime: Runtime, event: Event) -> tuple[InboxState, str | None]:
    """Whether the event waits for a look, concerns us not, or cannot be used by anybody."""
    if event.unreadable is not None:
        return InboxState.DEAD, event.unreadable
    if _is_foreign(runtime, event):
        return InboxState.IGNORED, f"belongs to business {event.business_id}"
    if not event.concerns_seats:
        return InboxState.IGNORED, f"{event.type} does not concern seats"
    return InboxState.PENDING, None


def _is_foreign(runtime: Runtime, event: Event) -> bool:
    ours = runtime.settings.business_id
    return ours is not None and event.business_id is not None and event.business_id != ours


def _keep(runtime: Runtime, arrival: Arrival, event: Event) -> StoredEvent:
    with runtime.sessions.begin() as session:
        kept = inbox.store(session, arrival)
        if kept.is_new and _is_foreign(runtime, event):
            drift_finding.record(
                session, f"business:{event.business_id}", [findings.other_business(event.business_id)]
            )
    return kept
