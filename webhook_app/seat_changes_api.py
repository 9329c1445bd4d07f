"""Seat changes: what more or fewer seats would cost, and buying or giving back exactly that."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from models import account, seat_change
from models.api_key import Scope
from models.seat_change import ChangeState, SeatChange
from seats.errors import ProviderError
from webhook_app import problems
from webhook_app.answers import KEYED, WRITING, answer, responses
from webhook_app.auth import needs
from webhook_app.door import door
from webhook_app.idempotency import Answer, answer_once
from webhook_app.routes import Routes
from webhook_app.schemas import AccountPath
from webhook_app.seat_change_schemas import (
    ChangePath,
    ChangePreviewed,
    ChangeShown,
    ChangesShown,
    ConfirmBody,
    PreviewBody,
)
from worker import seat_change as story
from worker.seat_change import Wish

seat_changes_api = Routes("seat_changes", tag="Seat changes")

_CHANGING = (*WRITING, 404, 409, 422, 503)


@seat_changes_api.post(
    "/v1/accounts/<path:account_id>/seat-changes/preview",
    summary="What so many seats would cost",
    description="`seats` are the purchased seats the account should have in all. Amounts are the provider's "
    "own. Nothing changes; the token confirms exactly this, for 15 minutes and as long as the subscription "
    "stays as it is. Fewer seats than people: 409 `seats_in_use` with those who would have to leave, unless "
    "`release` names them or says `suggested`.",
    responses=responses(ChangePreviewed, *_CHANGING),
)
@needs(Scope.BILLING)
def preview(path: AccountPath, body: PreviewBody) -> Response:
    def work(_: Session) -> Answer:
        wish = Wish(**body.model_dump())
        previewed = story.preview(door().runtime, path.account_id, wish)
        return Answer(HTTPStatus.OK, {**_shown(previewed.change), "token": previewed.token})

    return answer_once(lambda session: _told(work, session))


@seat_changes_api.post(
    "/v1/accounts/<path:account_id>/seat-changes",
    summary="Confirm a preview",
    description="Sends the plan to the provider once, and reads the subscription until it is known what came "
    "of it. 200: it is so (`applied`, or `scheduled` for the renewal); 202: it is under way, look again. "
    "Sent again, the same token tells how it stands.",
    responses=responses(ChangeShown, *_CHANGING, also=202),
)
@needs(Scope.BILLING)
def confirm(path: AccountPath, body: ConfirmBody) -> Response:
    def work(_: Session) -> Answer:
        change = story.confirm(door().runtime, path.account_id, body.token)
        is_open = change.state == ChangeState.SUBMITTED
        return Answer(HTTPStatus.ACCEPTED if is_open else HTTPStatus.OK, _shown(change))

    return answer_once(lambda session: _told(work, session))


@seat_changes_api.get(
    "/v1/accounts/<path:account_id>/seat-changes/<change_id>",
    summary="How a change stands",
    responses=responses(ChangeShown, *KEYED, 404),
)
@needs(Scope.READ)
def show(path: ChangePath) -> Response:
    with door().runtime.sessions() as session:
        return answer(_shown(seat_change.get(session, path.account_id, path.change_id)))


@seat_changes_api.get(
    "/v1/accounts/<path:account_id>/seat-changes",
    summary="Changes that are under way or scheduled",
    responses=responses(ChangesShown, *KEYED, 404),
)
@needs(Scope.READ)
def show_open(path: AccountPath) -> Response:
    with door().runtime.sessions() as session:
        account.get(session, path.account_id)
        found = seat_change.open_of(session, path.account_id)
    return answer({"seat_changes": [_shown(one) for one in found]})


@seat_changes_api.delete(
    "/v1/accounts/<path:account_id>/seat-changes/<change_id>",
    summary="Take a scheduled change back",
    description="Also drops a preview. 409 `not_cancellable` once it is under way or done.",
    responses=responses(ChangeShown, *_CHANGING),
)
@needs(Scope.BILLING)
def cancel(path: ChangePath) -> Response:
    def work(_: Session) -> Answer:
        change = story.cancel(door().runtime, path.account_id, path.change_id)
        return Answer(HTTPStatus.OK, _shown(change))

    return answer_once(lambda session: _told(work, session))


def _told(work: Any, session: Session) -> Answer:
    """What the provider refused is an answer too; its changes are committed by themselves, as they happen."""
    try:
        done: Answer = work(session)
    except ProviderError as error:
        told = problems.of_error(error)
        if told["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return Answer(told["status"], told)
    return done


def _shown(change: SeatChange) -> dict[str, Any]:
    return {
        "change_id": change.id,
        "state": change.state,
        "subscription_id": change.subscription_id,
        "seats": change.seats,
        "when": change.plan["when"],
        "proration": change.plan["proration"],
        "release": change.release,
        **change.shown,
        "code": change.code,
        "message": change.message,
        "retry_helps": change.retry_helps,
        "created_at": change.created_at,
        "expires_at": change.expires_at,
        "sent_at": change.sent_at,
        "history": change.history,
    }
