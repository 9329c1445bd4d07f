"""Members: claim a seat, give it back, see who sits where."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from models import account, assignment, seating
from models.api_key import Scope
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.seating import Wish
from webhook_app.answers import KEYED, WRITING, answer, responses
from webhook_app.auth import caller, needs
from webhook_app.door import door
from webhook_app.idempotency import Answer, answer_once
from webhook_app.routes import Routes
from webhook_app.schemas import (
    AccountPath,
    ClaimBody,
    Member,
    MemberPath,
    Members,
    MembersQuery,
    Released,
)

members_api = Routes("members", tag="Members")


@members_api.post(
    "/v1/accounts/<path:account_id>/claims",
    summary="Claim a seat for a person, once",
    description="201: seated. 200: the person has a seat already. 409 `no_seat_available` or "
    "`claims_blocked`, with the numbers. Takes an `Idempotency-Key`.",
    responses=responses(Member, *WRITING, 404, 409, also=201),
)
@needs(Scope.CLAIM)
def claim(path: AccountPath, body: ClaimBody) -> Response:
    def work(session: Session) -> Answer:
        seated = seating.claim(
            session, path.account_id, Wish(**body.model_dump()), door().runtime.catalog, _cause("claim")
        )
        status = HTTPStatus.CREATED if seated.is_new else HTTPStatus.OK
        return Answer(status, shown(seated.assignment))

    return answer_once(work)


@members_api.delete(
    "/v1/accounts/<path:account_id>/members/<path:member_id>",
    summary="Release a member's seat",
    description="200, and 200 again: `released` tells whether there was a seat to free.",
    responses=responses(Released, *WRITING, 404),
)
@needs(Scope.CLAIM)
def release(path: MemberPath) -> Response:
    def work(session: Session) -> Answer:
        freed = seating.release(session, path.account_id, path.member_id, _cause("release"))
        return Answer(HTTPStatus.OK, {"member_id": path.member_id, "released": freed})

    return answer_once(work)


@members_api.get(
    "/v1/accounts/<path:account_id>/members",
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
        "reason": _reason(person),
        "email": person.email,
        "protected": person.protected,
        "claimed_at": person.claimed_at,
        "expires_at": person.expires_at,
        "released_at": person.released_at,
    }


def _reason(person: Assignment) -> str:
    if person.seat_type is None:
        return f"the role {person.role} is free"
    return {
        AssignmentState.HELD: f"a {person.seat_type} seat is held until the invitation is taken up or lapses",
        AssignmentState.ACTIVE: f"sits on a {person.seat_type} seat",
        AssignmentState.SUSPENDED: "suspended: occupies no seat until reactivated",
        AssignmentState.RELEASED: "the seat was given back",
    }[AssignmentState(person.state)]


def _cause(source: str) -> Cause:
    return Cause(actor=caller().actor, source=source, reason="asked for by the app")
