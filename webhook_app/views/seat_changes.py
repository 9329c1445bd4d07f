"""Seat changes: what more or fewer seats would cost, and buying or giving back exactly that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import orjson
from flask import Response

from domain.errors import PermanentError
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
from webhook_app.responses import KEYED, WRITING, answer, responses
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
_UNDONE: Final = (ChangeState.FAILED, ChangeState.CANCELLED)


@seat_changes_api.post(
    "/v1/accounts/<account_id>/seat-changes/preview",
    summary="What so many seats would cost",
    description="`seats` are the purchased seats the account should have in all. Amounts are the provider's "
    "own. Nothing changes; the token confirms exactly this, for 15 minutes and as long as the subscription "
    "stays as it is. Fewer seats than people: 409 `seats_in_use` with those who would have to leave, unless "
    "`release` names them or says `suggested`.",
    responses=responses(ChangePreviewed, *_CHANGING, 415),
)
@needs(Scope.BILLING)
def preview(path: AccountPath, body: PreviewBody) -> Response:
    wish = SeatRequest(**body.model_dump())

    def ask() -> Result:
        previewed = seat_preview.preview(app_context().runtime, path.account_id, wish)
        return Result(HTTPStatus.OK, {**_shown(previewed.change), "token": previewed.token})

    return respond_after_call(lambda: _or_refusal(ask))


@seat_changes_api.post(
    "/v1/accounts/<account_id>/seat-changes",
    summary="Confirm a preview",
    description="Sends the plan to the provider once, and reads the subscription until it is known what came "
    "of it. 200: it is so (`applied`, or `scheduled` for the renewal); 202: it is under way, look again. "
    "Sent again, the same token tells how it stands; 409 with the reason where nothing came of it.",
    responses=responses(ChangeShown, *_CHANGING, 415, also=202),
)
@needs(Scope.BILLING)
def confirm(path: AccountPath, body: ConfirmBody) -> Response:
    def ask() -> Result:
        change = confirm_change(app_context().runtime, path.account_id, body.token, actor=caller().actor)
        if change.state in _UNDONE:
            return _why_undone(change)
        is_open = change.state == ChangeState.SUBMITTED
        return Result(HTTPStatus.ACCEPTED if is_open else HTTPStatus.OK, _shown(change))

    return respond_after_call(lambda: _or_refusal(ask))


@seat_changes_api.get(
    "/v1/accounts/<account_id>/seat-changes/<change_id>",
    summary="How a change stands",
    responses=responses(ChangeShown, *KEYED, 404),
)
@needs(Scope.READ)
def show(path: ChangePath) -> Response:
    with app_context().runtime.sessions() as session:
        account.get(session, path.account_id)
        return answer(_shown(seat_change.get(session, path.account_id, path.change_id)))


@seat_changes_api.get(
    "/v1/accounts/<account_id>/seat-changes",
    summary="Changes that are under way or scheduled",
    responses=responses(ChangesShown, *KEYED, 404),
)
@needs(Scope.READ)
def show_open(path: AccountPath) -> Response:
    with app_context().runtime.sessions() as session:
        account.get(session, path.account_id)
        found = seat_change.open_changes(session, path.account_id)
    return answer({"seat_changes": [_shown(one) for one in found]})


@seat_changes_api.delete(
    "/v1/accounts/<account_id>/seat-changes/<change_id>",
    summary="Take a scheduled change back",
    description="Also drops a preview. 202: asked for, and not yet seen; look again. 409 `not_cancellable` "
    "once it is under way or done.",
    responses=responses(ChangeShown, *_CHANGING, also=202),
)
@needs(Scope.BILLING)
def cancel(path: ChangePath) -> Response:
    def ask() -> Result:
        change = cancel_change(app_context().runtime, path.account_id, path.change_id)
        is_open = change.state == ChangeState.SCHEDULED
        return Result(HTTPStatus.ACCEPTED if is_open else HTTPStatus.OK, _shown(change))

    return respond_after_call(lambda: _or_refusal(ask))


@seat_changes_api.after_request
def say_whether_retry_helps(answer: Response) -> Response:
    """In every problem document of these calls. Where no reason tells: what could not be asked may be asked
    again, and what was refused would be refused again.
    """
    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        helps = answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        answer.data = orjson.dumps({"retry_helps": helps, **orjson.loads(answer.data)})
    return answer


def _or_refusal(ask: Callable[[], Result]) -> Result:
    """What the provider refused is an answer too, and kept as one; that it could not be asked is none."""
    try:
        return app_context().slow_calls.wait_for(ask)
    except PermanentError as error:
        told = problems.of_error(error)
        return Result(told["status"], told)


def _why_undone(change: SeatChange) -> Result:
    """A token that was spent for nothing must not look like seats."""
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
        "next_billing_date": _moment(change.shown["next_billing_date"]),
        "code": change.code,
        "message": change.message,
        "retry_helps": change.retry_helps,
        "created_at": change.created_at,
        "expires_at": change.expires_at,
        "sent_at": change.sent_at,
        "history": [{**step, "at": _moment(step["at"])} for step in change.history],
    }


def _moment(kept: str | None) -> datetime | None:
    """A time that is kept as text, for an answer in which all times are spelled alike."""
    return None if kept is None else datetime.fromisoformat(kept)
