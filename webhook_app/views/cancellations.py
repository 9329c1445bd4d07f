"""Cancellations: preview the end of a subscription, confirm it, follow it, undo it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from flask import Response

from domain.provider_errors import PermanentError
from domain.reduction import Leaver
from models import account, cancellation
from models.api_key import Scope
from models.cancellation import Cancellation, CancellationState
from services.purchases import ending
from services.purchases.ending import CancellationRequest
from webhook_app import problems
from webhook_app.auth import caller, needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_after_call
from webhook_app.responses import KEYED, WRITING, json_response, responses
from webhook_app.routes import Routes
from webhook_app.schemas.cancellations import (
    CancellationBody,
    CancellationConfirmBody,
    CancellationPath,
    CancellationPreviewed,
    CancellationShown,
    CancellationsShown,
)
from webhook_app.schemas.common import AccountPath
from webhook_app.views.seat_changes import add_retry_helps

cancellations_api = Routes("cancellations", tag="Seat changes")
cancellations_api.after_request(add_retry_helps)

_ENDING: Final = (*WRITING, 404, 409, 502)
# What is known about a cancellation that was found at the provider.
_NOT_PREVIEWED: Final[dict[str, Any]] = dict.fromkeys(
    ("status_after", "seats", "remaining", "unused_days", "drops_scheduled_change", "sentence")
)


@cancellations_api.post(
    "/v1/accounts/<account_id>/cancellations/preview",
    summary="Preview the end of a subscription",
    description="Shows what happens to the account's seats and members once the subscription has ended: what "
    "remains from other subscriptions and contracts, who is over the limit, from when claims are refused and "
    "when members are suspended. Nothing is changed; the returned token confirms exactly this cancellation, "
    "for 15 minutes and as long as the subscription does not change.",
    responses=responses(CancellationPreviewed, *_ENDING, 415),
)
@needs(Scope.BILLING)
def preview_cancellation(path: AccountPath, body: CancellationBody) -> Response:
    requested = CancellationRequest(when=body.when, subscription_id=body.subscription_id)

    def preview() -> Result:
        previewed = ending.preview(app_context().runtime, path.account_id, requested)
        further = {
            "token": previewed.token,
            "leavers": [_leaver(one) for one in previewed.leavers],
            "total_over": previewed.total_over,
        }
        return Result(HTTPStatus.OK, {**_shown(previewed.cancellation), **further})

    return respond_after_call(lambda: _call_provider(preview))


@cancellations_api.post(
    "/v1/accounts/<account_id>/cancellations",
    summary="Confirm the end of a subscription",
    description="Sends the cancellation to the provider exactly once, then reads the subscription until the "
    "outcome is known. 200: it is `scheduled` for the next billing date, or `applied`. 202: still under way; "
    "a notice tells the outcome. 409 with the reason if it failed. Seats and members change only when a sync "
    "shows that the subscription has ended. The same token again returns the current state.",
    responses=responses(CancellationShown, *_ENDING, 415, also=202),
)
@needs(Scope.BILLING)
def confirm_cancellation(path: AccountPath, body: CancellationConfirmBody) -> Response:
    def confirm() -> Result:
        row = ending.confirm(app_context().runtime, path.account_id, body.token, actor=caller().actor)
        if row.state == CancellationState.FAILED:
            return _conflict(row)
        is_open = row.state == CancellationState.SUBMITTED
        return Result(HTTPStatus.ACCEPTED if is_open else HTTPStatus.OK, _shown(row))

    return respond_after_call(lambda: _call_provider(confirm))


@cancellations_api.get(
    "/v1/accounts/<account_id>/cancellations/<cancellation_id>",
    summary="Get a cancellation",
    responses=responses(CancellationShown, *KEYED, 404),
)
@needs(Scope.READ)
def show_cancellation(path: CancellationPath) -> Response:
    with app_context().runtime.sessions() as session:
        account.get(session, path.account_id)
        return json_response(_shown(cancellation.get(session, path.account_id, path.cancellation_id)))


@cancellations_api.get(
    "/v1/accounts/<account_id>/cancellations",
    summary="List cancellations that are under way or scheduled",
    description="Also those that were made in the customer portal or the provider's dashboard.",
    responses=responses(CancellationsShown, *KEYED, 404),
)
@needs(Scope.READ)
def list_cancellations(path: AccountPath) -> Response:
    with app_context().runtime.sessions() as session:
        account.get(session, path.account_id)
        found = cancellation.open_cancellations(session, path.account_id)
    return json_response({"cancellations": [_shown(one) for one in found]})


@cancellations_api.delete(
    "/v1/accounts/<account_id>/cancellations/<cancellation_id>",
    summary="Undo a scheduled cancellation",
    description="The subscription goes on. Works for every scheduled cancellation, whoever made it, and also "
    "drops a preview. Sent to the provider exactly once. 202: the outcome is not known yet; a notice tells "
    "it. 409 `not_undoable` if the cancellation is not scheduled.",
    responses=responses(CancellationShown, *_ENDING, also=202),
)
@needs(Scope.BILLING)
def undo_cancellation(path: CancellationPath) -> Response:
    def undo() -> Result:
        row = ending.undo(app_context().runtime, path.account_id, path.cancellation_id, actor=caller().actor)
        if row.state == CancellationState.SCHEDULED and row.undo_sent_at is None:
            return _conflict(row)
        is_open = row.state == CancellationState.SCHEDULED
        return Result(HTTPStatus.ACCEPTED if is_open else HTTPStatus.OK, _shown(row))

    return respond_after_call(lambda: _call_provider(undo))


def _call_provider(call: Callable[[], Result]) -> Result:
    """The result of the call. A refusal by the provider is a result too, and is stored under the
    Idempotency-Key; an outage is raised and not stored.
    """
    try:
        return app_context().slow_calls.wait_for(call)
    except PermanentError as error:
        problem = problems.of_error(error)
        return Result(problem["status"], problem)


def _conflict(row: Cancellation) -> Result:
    """409 for a request without effect: a 200 would look as if the subscription would end, or go on."""
    further = {"cancellation_id": row.id, "state": row.state, "retry_helps": bool(row.retry_helps)}
    code, detail = row.code or row.state, row.message or f"The cancellation is {row.state}."
    return Result(HTTPStatus.CONFLICT, problems.document(HTTPStatus.CONFLICT, code, detail, further))


def _shown(row: Cancellation) -> dict[str, Any]:
    previewed = _NOT_PREVIEWED if row.shown is None else {**row.shown, "seats": _seats(row.shown["seats"])}
    return {
        "cancellation_id": row.id,
        "state": row.state,
        "subscription_id": row.subscription_id,
        "when": row.kind,
        "ends_at": row.ends_at,
        "at_provider": row.was_found,
        "confirmed_by": row.actor,
        "undo_requested_by": row.undo_actor,
        "undo_pending": row.undo_sent_at is not None,
        **previewed,
        "credit": None,
        "code": row.code,
        "message": row.message,
        "retry_helps": row.retry_helps,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "sent_at": row.sent_at,
        "history": [{**step, "at": _time(step["at"])} for step in row.history],
    }


def _seats(stored: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            **one,
            "claims_refused_from": _time(one["claims_refused_from"]),
            "suspended_at": _time(one["suspended_at"]),
        }
        for name, one in stored.items()
    }


def _leaver(leaver: Leaver) -> dict[str, Any]:
    holder = leaver.holder
    return {
        "place": leaver.place,
        "member_id": holder.member_id,
        "name": holder.name,
        "role": holder.role,
        "seat_type": holder.seat_type,
        "protected": holder.protected,
        "reason": leaver.reason,
    }


def _time(stored: str | None) -> datetime | None:
    """Parse a time stored as text, so that all times in a response are formatted alike."""
    return None if stored is None else datetime.fromisoformat(stored)
