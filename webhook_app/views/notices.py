"""Notices to the app: register endpoints, list notices with their deliveries, and resend."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from models import notice, notice_endpoint
from models.api_key import Scope
from models.notice import DeliveryState, NoticeDelivery, StoredNotice
from models.notice_endpoint import Endpoint
from services.notices import safe_urls
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_once
from webhook_app.responses import KEYED, WITH_BODY, WRITING, json_response, next_cursor, responses
from webhook_app.routes import Routes
from webhook_app.schemas.notices import (
    EndpointBody,
    EndpointDeleted,
    EndpointPath,
    Endpoints,
    EndpointShown,
    EndpointWithSecret,
    NoticePath,
    Notices,
    NoticesQuery,
    Resent,
)

notices_api = Routes("notices", tag="Notices")


@notices_api.post(
    "/v1/notice-endpoints",
    summary="Register an endpoint for notices",
    description="Each notice is a `POST` request signed according to Standard Webhooks, with the secret that "
    "only this response shows. The URL must use https and resolve to public addresses, unless the operator "
    "allows private ones.",
    responses=responses(EndpointWithSecret, *WITH_BODY, 409, also=201),
)
@needs(Scope.ADMIN)
def add_endpoint(body: EndpointBody) -> Response:
    # Resolves the host name, so it must not run inside the transaction.
    safe_urls.check(body.url, allow_private=app_context().runtime.settings.notices_allow_private)

    def work(session: Session) -> Result:
        return Result(
            HTTPStatus.CREATED, _with_secret(notice_endpoint.register(session, body.url, body.types))
        )

    return respond_once(work)


@notices_api.get(
    "/v1/notice-endpoints",
    summary="List the endpoints for notices",
    responses=responses(Endpoints, *KEYED),
)
@needs(Scope.ADMIN)
def endpoints() -> Response:
    with app_context().runtime.sessions() as session:
        found = notice_endpoint.all_endpoints(session)
    return json_response({"endpoints": [_endpoint(one) for one in found]})


@notices_api.delete(
    "/v1/notice-endpoints/<endpoint_id>",
    summary="Remove an endpoint",
    description="Its pending deliveries are dropped. 200, also if repeated.",
    responses=responses(EndpointDeleted, *WRITING),
)
@needs(Scope.ADMIN)
def remove_endpoint(path: EndpointPath) -> Response:
    def work(session: Session) -> Result:
        deleted = notice_endpoint.remove(session, path.endpoint_id)
        return Result(HTTPStatus.OK, {"endpoint_id": path.endpoint_id, "deleted": deleted})

    return respond_once(work)


@notices_api.post(
    "/v1/notice-endpoints/<endpoint_id>/rotate",
    summary="Rotate the secret of an endpoint",
    description="For 24 hours, every notice also carries a signature with the previous secret.",
    responses=responses(EndpointWithSecret, *WRITING, 404),
)
@needs(Scope.ADMIN)
def rotate_secret(path: EndpointPath) -> Response:
    def work(session: Session) -> Result:
        return Result(HTTPStatus.OK, _with_secret(notice_endpoint.rotate(session, path.endpoint_id)))

    return respond_once(work)


@notices_api.post(
    "/v1/notice-endpoints/<endpoint_id>/enable",
    summary="Enable an endpoint again",
    description="For an endpoint that was disabled because it answered 410. Notices of the meantime are not "
    "sent automatically: resend the dead ones. 200, also if repeated.",
    responses=responses(EndpointShown, *WRITING, 404),
)
@needs(Scope.ADMIN)
def enable_endpoint(path: EndpointPath) -> Response:
    def work(session: Session) -> Result:
        return Result(HTTPStatus.OK, _endpoint(notice_endpoint.enable(session, path.endpoint_id)))

    return respond_once(work)


@notices_api.get(
    "/v1/notices",
    summary="List notices with their deliveries, newest first",
    description="`state=dead` lists notices with a delivery that failed for good, with the reason.",
    responses=responses(Notices, *KEYED),
)
@needs(Scope.ADMIN)
def notices(query: NoticesQuery) -> Response:
    with app_context().runtime.sessions() as session:
        found = notice.page(
            session, state=query.state, account_id=query.account_id, after=query.cursor, limit=query.limit
        )
        deliveries = notice.deliveries_of(session, found)
    shown = [_notice(one, deliveries.get(one.id, ())) for one in found]
    return json_response({"notices": shown, "next_cursor": next_cursor(found, query.limit)})


@notices_api.post(
    "/v1/notices/<notice_id>/resend",
    summary="Resend a notice",
    description="Sends it to every endpoint that now subscribes to its type, under the same `webhook-id`.",
    responses=responses(Resent, *WRITING, 404, 409),
)
@needs(Scope.ADMIN)
def resend_notice(path: NoticePath) -> Response:
    def work(session: Session) -> Result:
        sent_to = notice.resend(session, path.notice_id)
        return Result(HTTPStatus.OK, {"id": path.notice_id, "deliveries": sent_to})

    return respond_once(work)


def _endpoint(found: Endpoint) -> dict[str, Any]:
    return {
        "endpoint_id": found.id,
        "url": found.url,
        "types": found.types,
        "created_at": found.created_at,
        "rotated_at": found.rotated_at,
        "disabled_at": found.disabled_at,
    }


def _with_secret(found: Endpoint) -> dict[str, Any]:
    return {**_endpoint(found), "secret": found.secrets[0]}


def _notice(found: StoredNotice, deliveries: Sequence[NoticeDelivery]) -> dict[str, Any]:
    return {
        "id": found.id,
        "message_id": found.message_id,
        "account_id": found.account_id,
        "type": found.type,
        "data": found.data,
        "created_at": found.created_at,
        "deliveries": [_delivery(one) for one in deliveries],
    }


def _delivery(found: NoticeDelivery) -> dict[str, Any]:
    return {
        "endpoint_id": found.endpoint_id,
        "state": found.state,
        "attempts": found.attempts,
        "next_at": found.next_at if found.state == DeliveryState.PENDING else None,
        "last_error": found.last_error,
        "delivered_at": found.delivered_at,
    }
