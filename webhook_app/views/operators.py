"""Calls for operators: inbox, replay of dead letters, drift findings, and an immediate sync."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from models import drift_finding, inbox
from models.api_key import Scope
from models.drift_finding import FindingState
from models.inbox import InboxEvent
from services.reports.drift import finding_shown
from services.sync import on_demand, replay
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_after_call, respond_once
from webhook_app.responses import KEYED, WITH_BODY, WRITING, json_response, next_cursor, responses
from webhook_app.routes import Routes
from webhook_app.schemas.common import AccountPath
from webhook_app.schemas.operators import (
    DismissBody,
    DriftPage,
    DriftQuery,
    DriftShown,
    FindingPath,
    InboxPage,
    InboxPath,
    InboxQuery,
    Replayed,
    Synced,
)

operator_api = Routes("operator", tag="Operators")


@operator_api.get(
    "/v1/inbox",
    summary="List stored deliveries, newest first",
    description="`state=dead` lists the dead letters with their reasons. Bodies are not shown.",
    responses=responses(InboxPage, *KEYED),
)
@needs(Scope.ADMIN)
def events(query: InboxQuery) -> Response:
    with app_context().runtime.sessions() as session:
        found = inbox.page(session, state=query.state, after=query.cursor, limit=query.limit)
    return json_response(
        {"events": [_event(one) for one in found], "next_cursor": next_cursor(found, query.limit)}
    )


@operator_api.post(
    "/v1/inbox/<inbox_id>/replay",
    summary="Replay a dead letter",
    responses=responses(Replayed, *WRITING, 404, 409),
)
@needs(Scope.ADMIN)
def replay_event(path: InboxPath) -> Response:
    replayed: list[InboxEvent] = []

    def work(session: Session) -> Result:
        event = replay.replay(session, app_context().runtime.provider, path.inbox_id)
        replayed.append(event)
        return Result(HTTPStatus.OK, {"id": event.id, "state": event.state})

    response = respond_once(work)
    for event in replayed:
        if event.subscription_id is not None:
            app_context().wake_worker(event.subscription_id)
    return response


@operator_api.get(
    "/v1/drift",
    summary="List differences from the provider, oldest first",
    description="Without `state`: unresolved findings, that is `open` (the next sync repairs it) and `held` "
    "(a person has to do what the message says). Closed findings are `repaired`, `agreed` (the difference "
    "disappeared) or `dismissed` (by a person).",
    responses=responses(DriftPage, *KEYED),
)
@needs(Scope.ADMIN)
def drift(query: DriftQuery) -> Response:
    with app_context().runtime.sessions() as session:
        states = [query.state] if query.state else [FindingState.OPEN, FindingState.HELD]
        found = drift_finding.page(session, states=states, after=query.cursor, limit=query.limit)
    return json_response(
        {"findings": [finding_shown(one) for one in found], "next_cursor": next_cursor(found, query.limit)}
    )


@operator_api.post(
    "/v1/drift/<finding_id>/dismiss",
    summary="Dismiss a held finding, with a reason",
    description="The finding is not opened again unless it changes. 409 `finding_not_held` if the next sync "
    "will close it, or if it is closed already. Safe to repeat.",
    responses=responses(DriftShown, *WITH_BODY, 404, 409),
)
@needs(Scope.ADMIN)
def dismiss_finding(path: FindingPath, body: DismissBody) -> Response:
    def work(session: Session) -> Result:
        closed = drift_finding.dismiss(session, path.finding_id, body.reason)
        return Result(HTTPStatus.OK, finding_shown(closed))

    return respond_once(work)


@operator_api.post(
    "/v1/accounts/<account_id>/sync",
    summary="Sync the account with the provider now",
    description="Waits up to ten seconds. 200: every subscription of the account was synced; `changed` tells "
    "whether anything changed, and `drift` lists the differences. 202: the subscriptions in `waiting` are "
    "still to be synced, as soon as possible. One that is `dead` is not synced again before its daily "
    "verification: remove the reason, then replay its dead letter or repeat this call.",
    responses=responses(Synced, *WRITING, 404, also=202),
)
@needs(Scope.CLAIM)
def sync_account(path: AccountPath) -> Response:
    def sync() -> Result:
        with app_context().slow_calls.place() as has_place:
            patience = on_demand.CALL_TIMEOUT if has_place else 0
            done = on_demand.sync_account(app_context().runtime, path.account_id, patience=patience)
        for one in done.waiting:
            if not one.is_dead:
                app_context().wake_worker(one.subscription_id)
        body = {
            "changed": done.changed,
            "drift": [finding_shown(one) for one in done.drift],
            "waiting": [
                {"subscription_id": one.subscription_id, "reason": one.reason, "dead": one.is_dead}
                for one in done.waiting
            ],
        }
        return Result(HTTPStatus.ACCEPTED if done.waiting else HTTPStatus.OK, body)

    return respond_after_call(sync)


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
