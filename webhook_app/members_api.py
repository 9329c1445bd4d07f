"""Members: change them, free their seats, see who sits where."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from models import account, assignment, seating
from models import members as member_changes
from models.api_key import Scope
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.members import Change
from webhook_app.answers import KEYED, WITH_BODY, WRITING, answer, responses
from webhook_app.auth import caller, needs
from webhook_app.door import door
from webhook_app.idempotency import Answer, answer_once
from webhook_app.routes import Routes
from webhook_app.schemas import (
    AccountPath,
    Member,
    MemberChange,
    MemberPath,
    Members,
    MembersQuery,
    Released,
)

members_api = Routes("members", tag="Members")


@members_api.patch(
    "/v1/accounts/<account_id>/members/<member_id>",
    summary="Change a member: role, state, protection, name, address, last activity",
    description="A change of role is a move between seat types in one step, reactivating is a claim: both "
    "may be refused like one. 409 `wrong_state`, `hold_expired`, `email_taken`.",
    responses=responses(Member, *WITH_BODY, 404, 409),
)
@needs(Scope.CLAIM)
def patch_member(path: MemberPath, body: MemberChange) -> Response:
    wanted = body.model_dump()
    state = None if body.state is None else AssignmentState(body.state)

    def work(session: Session) -> Answer:
        person = member_changes.change(
            session,
            path.account_id,
            path.member_id,
            Change(**{**wanted, "state": state}),
            catalog=door().runtime.catalog,
            cause=asked_for("change"),
        )
        return Answer(HTTPStatus.OK, shown(person))

    return answer_once(work)


@members_api.delete(
    "/v1/accounts/<account_id>/members/<member_id>",
    summary="Release a member's seat",
    description="200, and 200 again: `released` tells whether there was a seat to free.",
    responses=responses(Released, *WRITING, 404),
)
@needs(Scope.CLAIM)
def release(path: MemberPath) -> Response:
    def work(session: Session) -> Answer:
        freed = seating.release(session, path.account_id, path.member_id, asked_for("release"))
        return Answer(HTTPStatus.OK, {"member_id": path.member_id, "released": freed})

    return answer_once(work)


@members_api.get(
    "/v1/accounts/<account_id>/members",
    summary="Who sits in the account",
    description="Free roles are listed with the reason why they occupy nothing.",
    responses=responses(Members, *KEYED, 404),
)
@needs(Scope.READ)
def members(path: AccountPath, query: MembersQuery) -> Response:
    with door().runtime.sessions() as session:
        account.get(session, path.account_id)
        page = assignment.page(
            session,
            path.account_id,
            state=query.state,
            role=query.role,
            seat_type=query.type,
            after=query.cursor,
            limit=query.limit,
        )
    return answer({"members": [shown(one) for one in page.assignments], "next_cursor": page.next_cursor})


def shown(person: Assignment) -> dict[str, Any]:
    """The assignment as the API shows it."""
    return {
        "member_id": person.member_id,
        "role": person.role,
        "seat_type": person.seat_type,
        "state": person.state,
        "occupies_seat": person.occupies_seat,
        "awaits_purchase": person.awaits is not None,
        "reason": person.reason,
        "name": person.name,
        "email": person.email,
        "protected": person.protected,
        "claimed_at": person.claimed_at,
        "last_active_at": person.last_active_at,
        "expires_at": person.expires_at,
        "released_at": person.released_at,
    }


def asked_for(source: str) -> Cause:
    """The app's own wish, through this door."""
    return Cause(actor=caller().actor, source=source, reason="asked for by the app")
