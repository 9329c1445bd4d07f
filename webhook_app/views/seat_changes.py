"""Seat changes: preview the cost of more or fewer seats, confirm the preview, follow or cancel the change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import orjson
from flask import Response

from domain.provider_errors import PermanentError
from models import account, seat_change
from models.api_key import Scope
from models.seat_change import ChangeState, SeatChange
from services.purchases import preview as seat_preview
from services.purchases.cancel import cancel as cancel_change
from services.purchases.confirm import confirm as confirm_change
from services.purchases.preview import SeatRequest
from webhook_app import problems
from webhook_app.auth import caller, needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_after_call
from webhook_app.responses import KEYED, WRITING, json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.common import AccountPath
from webhook_app.schemas.seat_changes import (
    ChangePath,
    ChangePreviewed,
    ChangeShown,
    ChangesShown,
    ConfirmBody,
    PreviewBody,
)

seat_changes_api = Routes("seat_changes", tag="Seat changes")

_CHANGING: Final = (*WRITING, 404, 409, 502)
_CLOSED_WITHOUT_EFFECT: Final = (ChangeState.FAILED, ChangeState.CANCELLED)


@seat_changes_api.post(
    "/v1/accounts/<account_id>/seat-changes/preview",
    summary="Preview a seat change and its cost",
    description="`seats` is the total number of purchased seats per type after the change. `product_id` "
    "names another product to change to; seats are carried over to it. Amounts come from the provider. "
    "Nothing is changed; the returned token confirms exactly this change, for 15 minutes and as long as the "
    "subscription does not change. 409 `seats_in_use` if fewer seats remain than are used, with the members "
    "who would have to leave: list them in `release`, or send `suggested`.",
    responses=responses(ChangePreviewed, *_CHANGING, 415),
)
@needs(Scope.BILLING)
def preview(path: AccountPath, body: PreviewBody) -> Response:
    requested = SeatRequest(**body.model_dump())

    def preview_change() -> Result:
        previewed = seat_preview.preview(app_context().runtime, path.account_id, requested)
        return Result(HTTPStatus.OK, {**_shown(previewed.change), "token": previewed.token})

    return respond_after_call(lambda: _call_provider(preview_change))


@seat_changes_api.post(
    "/v1/accounts/<account_id>/seat-changes",
    summary="Confirm a preview",
    description="Sends the change to the provider exactly once, then reads the subscription until the "
    "outcome is known. 200: the change is `applied`, or `scheduled` for the renewal. 202: still under way; "
    "get the change later. 409 with the reason if the change failed or was cancelled. Repeating the call "
    "with the same token returns the current state of the change.",
    responses=responses(ChangeShown, *_CHANGING, 415, also=202),
)
@needs(Scope.BILLING)
def confirm(path: AccountPath, body: ConfirmBody) -> Response:
    def confirm_preview() -> Result:
        change = confirm_change(app_context().runtime, path.account_id, body.token, actor=caller().actor)
        if change.state in _CLOSED_WITHOUT_EFFECT:
            return _conflict(change)
        is_open = change.state == ChangeState.SUBMITTED
        return Result(HTTPStatus.ACCEPTED if is_open else HTTPStatus.OK, _shown(change))

    return respond_after_call(lambda: _call_provider(confirm_preview))


@seat_changes_api.get(
    "/v1/accounts/<account_id>/seat-changes/<change_id>",
    summary="Get a seat change",
    responses=responses(ChangeShown, *KEYED, 404),
)
@needs(Scope.READ)
def show(path: ChangePath) -> Response:
    with app_context().runtime.sessions() as session:
        account.get(session, path.account_id)
        return json_response(_shown(seat_change.get(session, path.account_id, path.change_id)))


@seat_changes_api.get(
    "/v1/accounts/<account_id>/seat-changes",
    summary="List seat changes that are under way or scheduled",
    responses=responses(ChangesShown, *KEYED, 404),
)
@needs(Scope.READ)
def open_changes(path: AccountPath) -> Response:
    with app_context().runtime.sessions() as session:
        account.get(session, path.account_id)
        found = seat_change.open_changes(session, path.account_id)
    return json_response({"seat_changes": [_shown(one) for one in found]})


@seat_changes_api.delete(
    "/v1/accounts/<account_id>/seat-changes/<change_id>",
    summary="Cancel a scheduled seat change",
    description="Also drops a preview. 202: the cancellation was requested and is not confirmed yet; get the "
    "change later. 409 `not_cancellable` if the change is under way or done.",
    responses=responses(ChangeShown, *_CHANGING, also=202),
)
@needs(Scope.BILLING)
def cancel(path: ChangePath) -> Response:
    def cancel_at_provider() -> Result:
        change = cancel_change(app_context().runtime, path.account_id, path.change_id)
        is_open = change.state == ChangeState.SCHEDULED
        return Result(HTTPStatus.ACCEPTED if is_open else HTTPStatus.OK, _shown(change))

    return respond_after_call(lambda: _call_provider(cancel_at_provider))


@seat_changes_api.after_request
def add_retry_helps(response: Response) -> Response:
    """Add `retry_helps` to every problem document of these calls that does not have it: true only for 503."""
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        helps = response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        response.data = orjson.dumps({"retry_helps": helps, **orjson.loads(response.data)})
    return response


def _call_provider(call: Callable[[], Result]) -> Result:
    """The result of the call. A refusal by the provider is a result too, and is stored under the
    Idempotency-Key; an outage is raised and not stored.
    """
    try:
        return app_context().slow_calls.wait_for(call)
    except PermanentError as error:
        problem = problems.of_error(error)
        return Result(problem["status"], problem)


def _conflict(change: SeatChange) -> Result:
    """409 for a change without effect: a 200 would look as if the seats had been bought."""
    further = {"change_id": change.id, "state": change.state, "retry_helps": bool(change.retry_helps)}
    code, detail = change.code or change.state, change.message or f"The change is {change.state}."
    return Result(HTTPStatus.CONFLICT, problems.document(HTTPStatus.CONFLICT, code, detail, further))


def _shown(change: SeatChange) -> dict[str, Any]:
    return {
        "change_id": change.id,
        "state": change.state,
        "subscription_id": change.subscription_id,
        "seats": change.seats,
        "when": change.plan["when"],
        "proration": change.plan["proration"],
        "release": change.release,
        "confirmed_by": change.actor,
        "automatic": change.is_automatic,
        **change.shown,
        "next_billing_date": _time(change.shown["next_billing_date"]),
        "code": change.code,
        "message": change.message,
        "retry_helps": change.retry_helps,
        "created_at": change.created_at,
        "expires_at": change.expires_at,
        "sent_at": change.sent_at,
        "history": [{**step, "at": _time(step["at"])} for step in change.history],
    }


def _time(stored: str | None) -> datetime | None:
    """Parse a time stored as text, so that all times in a response are formatted alike."""
    return None if stored is None else datetime.fromisoformat(stored)
