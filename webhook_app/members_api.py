"""Members: claim a seat, give it back, see who sits where."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from models import account, assignment, batch, seating
from models import members as member_changes
from models.api_key import Scope
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.batch import Outcome
from models.members import Change
from models.seating import Seated, Wish
from seats.errors import BatchRefused
from webhook_app import problems
from webhook_app.answers import KEYED, WRITING, answer, responses
from webhook_app.auth import caller, needs
from webhook_app.door import door
from webhook_app.idempotency import Answer, answer_once
from webhook_app.routes import Routes
from webhook_app.schemas import (
    AccountPath,
    BatchBody,
    BatchResult,
    ClaimBody,
    Member,
    MemberChange,
    MemberPath,
    Members,
    MembersQuery,
    Released,
)

members_api = Routes("members", tag="Members")


@members_api.post(
    "/v1/accounts/<path:account_id>/claims",
    summary="Claim a seat for a person, once",
    description="201: seated. 200: the person has a seat already, and an invitation is taken up; a role or "
    "address that differs is left as it was, PATCH changes it. 409 `no_seat_available`, `claims_blocked` "
    "or `purchase_needed`, with the numbers; `wrong_state` for somebody suspended. Takes an "
    "`Idempotency-Key`.",
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


@members_api.post(
    "/v1/accounts/<path:account_id>/claims/batch",
    summary="Claim seats for many people",
    description="One result per claim, in their order. `each`: 200, whatever they came to. `all`: 200 if all "
    "were granted, else 409 `batch_refused` and nothing was changed. Takes an `Idempotency-Key`.",
    responses=responses(BatchResult, *WRITING, 404, 409),
)
@needs(Scope.CLAIM)
def claim_batch(path: AccountPath, body: BatchBody) -> Response:
    wishes = [Wish(**one.model_dump()) for one in body.claims]

    def work(session: Session) -> Answer:
        asked = (session, path.account_id, wishes, door().runtime.catalog, _cause("batch"))
        granted, outcomes = (
            batch.claim_all(*asked) if body.mode == "all" else (True, batch.claim_each(*asked))
        )
        results = [
            _result(wish, outcome, is_granted=granted) for wish, outcome in zip(wishes, outcomes, strict=True)
        ]
        refused = sum(result["problem"] is not None for result in results)
        told = {"mode": body.mode, "granted": len(results) - refused, "refused": refused, "results": results}
        return Answer(HTTPStatus.OK, told) if granted else _nothing_granted(told)

    return answer_once(work)


def _result(wish: Wish, outcome: Outcome, *, is_granted: bool) -> dict[str, Any]:
    """What the claim came to. One that was taken back with the others has no assignment to show."""
    if isinstance(outcome, Seated):
        status = HTTPStatus.CREATED if outcome.is_new else HTTPStatus.OK
        assignment, problem = shown(outcome.assignment) if is_granted else None, None
    else:
        assignment, problem = None, problems.of_error(outcome)
        status = problem["status"]
    return {"member_id": wish.member_id, "status": status, "assignment": assignment, "problem": problem}


def _nothing_granted(told: dict[str, Any]) -> Answer:
    refusal = BatchRefused(
        f"{told['refused']} of {len(told['results'])} claims are refused, so none was granted.",
        details={**told, "granted": 0},
    )
    return Answer(HTTPStatus.CONFLICT, problems.of_error(refusal))


@members_api.patch(
    "/v1/accounts/<path:account_id>/members/<path:member_id>",
    summary="Change a member: role, state, protection, name, address, last activity",
    description="A change of role is a move between seat types in one step, reactivating is a claim: both "
    "may be refused like one. 409 `wrong_state`, `hold_expired`, `email_taken`.",
    responses=responses(Member, *WRITING, 404, 409),
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
            cause=_cause("change"),
        )
        return Answer(HTTPStatus.OK, shown(person))

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
        "reason": person.reason,
        "name": person.name,
        "email": person.email,
        "protected": person.protected,
        "claimed_at": person.claimed_at,
        "last_active_at": person.last_active_at,
        "expires_at": person.expires_at,
        "released_at": person.released_at,
    }


def _cause(source: str) -> Cause:
    return Cause(actor=caller().actor, source=source, reason="asked for by the app")
