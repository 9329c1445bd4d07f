"""For operators: what waits in the inbox, dead letters and their replay, what does not agree."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from models import finding, inbox
from models.api_key import Scope
from models.inbox import InboxEvent
from webhook_app.answers import answer, responses
from webhook_app.auth import needs
from webhook_app.door import door
from webhook_app.schemas import DriftPage, DriftQuery, InboxPage, InboxPath, InboxQuery, Replayed
from worker import replay

operator_api = APIBlueprint("operator", __name__, abp_tags=[Tag(name="Operators")])


@operator_api.get(
    "/v1/inbox",
    summary="Deliveries kept, newest first",
    description="`state=dead` are the dead letters, each with its reason. Bodies are not shown.",
    responses=responses(InboxPage, 401, 403, 422),
)
@needs(Scope.ADMIN)
def events(query: InboxQuery) -> Response:
    with door().runtime.sessions() as session:
        found = inbox.page(session, state=query.state, after=query.cursor, limit=query.limit)
    more = found[-1].id if len(found) == query.limit else None
    return answer({"events": [_event(one) for one in found], "next_cursor": more})


@operator_api.post(
    "/v1/inbox/<int:inbox_id>/replay",
    summary="Give a dead letter another chance",
    responses=responses(Replayed, 401, 403, 404, 409),
)
@needs(Scope.ADMIN)
def replay_event(path: InboxPath) -> Response:
    event = replay.replay(door().runtime, path.inbox_id)
    if event.subscription_id is not None:
        door().doorbell.ring(event.subscription_id)
    return answer({"id": event.id, "state": event.state})


@operator_api.get(
    "/v1/drift",
    summary="Open drift findings, oldest first",
    responses=responses(DriftPage, 401, 403, 422),
)
@needs(Scope.ADMIN)
def drift(query: DriftQuery) -> Response:
    with door().runtime.sessions() as session:
        found = finding.open_findings(session, after=query.cursor, limit=query.limit)
    more = found[-1].id if len(found) == query.limit else None
    shown = [
        {
            "id": one.id,
            "subject": one.subject,
            "kind": one.kind,
            "field": one.field,
            "ours": one.ours,
            "theirs": one.theirs,
            "message": one.message,
            "first_seen": one.first_seen,
            "last_seen": one.last_seen,
        }
        for one in found
    ]
    return answer({"findings": shown, "next_cursor": more})


def _event(event: InboxEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "provider": event.provider,
        "event_id": event.event_id,
        "type": event.type,
        "subscription_id": event.subscription_id,
        "state": event.state,
        "reason": event.reason,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
    }
