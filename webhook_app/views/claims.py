"""Claims: a seat for a person, or for many; bought first, where the policy buys what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from domain.errors import BatchRefused, NoSeatAvailable
from models import assignment, audit
from models.api_key import Scope
from models.assignment import Assignment, AssignmentState
from services.ledger import batch_claims, pending_claims
from services.ledger.batch_claims import Outcome
from services.ledger.claims import ClaimOutcome, ClaimRequest
from services.purchases import auto_expand
from webhook_app import problems
from webhook_app.auth import needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_once
from webhook_app.responses import WITH_BODY, responses
from webhook_app.routes import Routes
from webhook_app.schemas.claims import BatchBody, BatchResult, ClaimBody
from webhook_app.schemas.common import AccountPath
from webhook_app.schemas.members import Member
from webhook_app.views.members import (
    app_cause,
    member_document,
    role_warnings,
    role_warnings_on_refusal,
    still_members,
)

claims_api = Routes("claims", tag="Members")


@claims_api.post(
    "/v1/accounts/<account_id>/claims",
    summary="Claim a seat for a person, once",
    description="201: seated. 200: the person has a seat already, or an invitation that is confirmed, under "
    "this id from now on. A role of another seat type is a move, granted or refused like a claim; another "
    "role of the same type, and an address that differs, stay as they were: PATCH changes them. 409 "
    "`no_seat_available`, `claims_blocked` or `purchase_needed`, with the numbers; `email_taken` with the id "
    "that has the address; `wrong_state` for somebody suspended. Under the policy "
    "`auto_expand` a seat that is missing is bought: 201 once a look at the provider shows it; 202 if it "
    "does not yet, with the seat held, and a notice tells what comes of it. Takes an `Idempotency-Key`.",
    responses=responses(Member, *WITH_BODY, 404, 409, also=(201, 202)),
)
@needs(Scope.CLAIM)
def claim(path: AccountPath, body: ClaimBody) -> Response:
    wish = ClaimRequest(**body.model_dump())
    held: dict[str, int] = {}

    def work(session: Session) -> Result:
        with role_warnings_on_refusal(wish.role):
            seated = pending_claims.claim(
                session, path.account_id, wish, app_context().runtime.catalog, app_cause("claim")
            )
        held.update(_held([seated]))
        return Result(_status(seated), member_document(seated.assignment, wish.role))

    def conclude(first: Result) -> Result:
        if first.status != HTTPStatus.ACCEPTED:
            return first
        (became,) = _after_purchase(path.account_id, [first.body], held).values()
        return became

    return respond_once(work, conclude, still_holds=still_members(path.account_id))


@claims_api.post(
    "/v1/accounts/<account_id>/claims/batch",
    summary="Claim seats for many people",
    description="One result per claim, in their order. `each`: 200, whatever they came to. `all`: 200 if all "
    "were granted, else 409 `batch_refused` and nothing was changed; nothing is bought for it. Takes an "
    "`Idempotency-Key`.",
    responses=responses(BatchResult, *WITH_BODY, 404, 409),
)
@needs(Scope.CLAIM)
def claim_batch(path: AccountPath, body: BatchBody) -> Response:
    wishes = [ClaimRequest(**one.model_dump()) for one in body.claims]
    held: dict[str, int] = {}

    def work(session: Session) -> Result:
        asked = (session, path.account_id, wishes, app_context().runtime.catalog, app_cause("batch"))
        granted, outcomes = (
            batch_claims.claim_all(*asked) if body.mode == "all" else (True, batch_claims.claim_each(*asked))
        )
        held.update(_held(one for one in outcomes if granted and isinstance(one, ClaimOutcome)))
        told = [
            _result(wish, outcome, is_granted=granted) for wish, outcome in zip(wishes, outcomes, strict=True)
        ]
        return _answered(body.mode, told) if granted else _nothing_granted(body.mode, told)

    def conclude(first: Result) -> Result:
        if first.status != HTTPStatus.OK:
            return first
        told = first.body["results"]
        waiting_ones = [one["assignment"] for one in told if _waits(one)]
        if not waiting_ones:
            return first
        became = _after_purchase(path.account_id, waiting_ones, held)
        return _answered(body.mode, [_concluded(one, became) if _waits(one) else one for one in told])

    return respond_once(work, conclude, still_holds=still_members(path.account_id))


def _held(claims: Iterable[ClaimOutcome]) -> Mapping[str, int]:
    """The assignments that wait for a seat, by member id."""
    people = (seated.assignment for seated in claims)
    return {person.member_id: person.id for person in people if person.awaits is not None}


def _status(seated: ClaimOutcome) -> HTTPStatus:
    if seated.assignment.awaits is not None:
        return HTTPStatus.ACCEPTED
    return HTTPStatus.CREATED if seated.is_new else HTTPStatus.OK


def _result(wish: ClaimRequest, outcome: Outcome, *, is_granted: bool) -> dict[str, Any]:
    """What the claim came to. One that was taken back with the others has no assignment to show."""
    if isinstance(outcome, ClaimOutcome):
        status: int = HTTPStatus.CREATED if outcome.is_new else HTTPStatus.OK
        person, problem = None, None
        if is_granted:
            status, person = _status(outcome), member_document(outcome.assignment, wish.role)
    else:
        person, problem = None, {**problems.of_error(outcome), **role_warnings(wish.role)}
        status = problem["status"]
    return {"member_id": wish.member_id, "status": status, "assignment": person, "problem": problem}


def _waits(result: Mapping[str, Any]) -> bool:
    return bool(result["status"] == HTTPStatus.ACCEPTED)


def _concluded(result: Mapping[str, Any], became: Mapping[str, Result]) -> dict[str, Any]:
    answer = became[result["assignment"]["member_id"]]
    is_refused = answer.status == HTTPStatus.CONFLICT
    told = {"assignment": None, "problem": answer.body} if is_refused else {"assignment": answer.body}
    return {**result, "status": answer.status, **told}


def _answered(mode: str, told: Sequence[dict[str, Any]]) -> Result:
    return Result(HTTPStatus.OK, {"mode": mode, **_totals(told), "results": told})


def _nothing_granted(mode: str, told: Sequence[dict[str, Any]]) -> Result:
    totals = {**_totals(told), "granted": 0}
    refusal = BatchRefused(
        f"{totals['refused']} of {len(told)} claims are refused, so none was granted.",
        details={"mode": mode, **totals, "results": told},
    )
    return Result(HTTPStatus.CONFLICT, problems.of_error(refusal))


def _totals(told: Sequence[dict[str, Any]]) -> dict[str, int]:
    refused = sum(result["problem"] is not None for result in told)
    held = sum(map(_waits, told))
    return {"granted": len(told) - refused - held, "waiting": held, "refused": refused}


def _after_purchase(
    account_id: str, people: Sequence[Mapping[str, Any]], held: Mapping[str, int]
) -> Mapping[str, Result]:
    """Wait for the purchase, then return what became of each claim, by member id. If too many calls wait
    already, return that at once. `held` maps member ids to the assignments that this call created.
    """
    runtime = app_context().runtime
    with runtime.sessions() as session:
        theirs = {
            one["member_id"]: held.get(one["member_id"]) or _find(session, account_id, one) for one in people
        }
    with app_context().slow_calls.place() as has_place:
        if has_place:
            auto_expand.wait_for_seats(
                runtime, account_id, [one for one in theirs.values() if one is not None]
            )
    with runtime.sessions() as session:
        return {member_id: _became(session, one) for member_id, one in theirs.items()}


def _find(session: Session, account_id: str, shown_then: Mapping[str, Any]) -> int | None:
    """The person's assignment: an invitation that was taken up since is found by its address."""
    member_id, email = shown_then["member_id"], shown_then["email"]
    live = assignment.live(session, account_id, member_id)
    if live is None and email is not None:
        live = assignment.live_address(session, account_id, email)
    return assignment.newest_id(session, account_id, member_id) if live is None else live.id


def _became(session: Session, assignment_id: int | None) -> Result:
    person = None if assignment_id is None else session.get(Assignment, assignment_id)
    if person is not None and person.state != AssignmentState.RELEASED:
        return Result(_status(ClaimOutcome(person, is_new=True)), member_document(person))
    reason = "The seat has been given back since."
    if person is not None:
        last = audit.newest_of_member(session, person.account_id, person.member_id)
        reason = last.reason if last is not None and last.source == pending_claims.SOURCE else reason
    return Result(HTTPStatus.CONFLICT, problems.of_error(NoSeatAvailable(reason)))
