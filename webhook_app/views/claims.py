"""Claims: give seats to one person or to many, and wait for the purchase if missing seats are bought."""

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
    summary="Claim a seat for one person",
    description="201: the person has a new seat. 200: the person already had a seat, or an invitation that "
    "this call confirms; from now on the member has the id in this request. A role of another seat type is "
    "a move and is granted or refused like a claim. Another role of the same seat type, or a different "
    "e-mail address, is not stored: use PATCH. 409 `no_seat_available`, `claims_blocked` or "
    "`purchase_needed`, with the seat figures; `email_taken` with the id of the member who has the address; "
    "`wrong_state` for a suspended member. Under the policy `auto_expand` a missing seat is bought: 201 "
    "once a sync with the provider shows the seat; 202 if the purchase is still under way: the seat is "
    "held, and a notice reports the outcome. Takes an `Idempotency-Key`.",
    responses=responses(Member, *WITH_BODY, 404, 409, also=(201, 202)),
)
@needs(Scope.CLAIM)
def claim(path: AccountPath, body: ClaimBody) -> Response:
    call = _SingleClaim(path.account_id, ClaimRequest(**body.model_dump()))
    return respond_once(call.claim, call.finish, still_holds=still_members(path.account_id))


@claims_api.post(
    "/v1/accounts/<account_id>/claims/batch",
    summary="Claim seats for many people",
    description="One result per claim, in request order. Mode `each`: always 200, each claim is granted or "
    "refused by itself. Mode `all`: 200 if every claim is granted; otherwise 409 `batch_refused` and nothing "
    "is changed. Mode `all` never buys seats. Takes an `Idempotency-Key`.",
    responses=responses(BatchResult, *WITH_BODY, 404, 409),
)
@needs(Scope.CLAIM)
def claim_batch(path: AccountPath, body: BatchBody) -> Response:
    call = _BatchClaim(path.account_id, body.mode, [ClaimRequest(**one.model_dump()) for one in body.claims])
    return respond_once(call.claim, call.finish, still_holds=still_members(path.account_id))


class _PendingClaims:
    """The pending claims of one call: seats that are held until they are bought."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self._created: dict[str, int] = {}

    def add(self, outcomes: Iterable[ClaimOutcome]) -> None:
        """Remember the assignments that this call created and that wait for a purchase."""
        for outcome in outcomes:
            if outcome.assignment.awaits is not None:
                self._created[outcome.assignment.member_id] = outcome.assignment.id

    def wait(self, documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Result]:
        """Wait for the purchase, then return the final result by member id.

        `documents` are the member documents of the first response. If too many calls are waiting already,
        the current state is returned at once.
        """
        runtime = app_context().runtime
        with runtime.sessions() as session:
            assignment_ids = {one["member_id"]: self._assignment_id(session, one) for one in documents}
        with app_context().slow_calls.place() as has_place:
            if has_place:
                known_ids = [one for one in assignment_ids.values() if one is not None]
                auto_expand.wait_for_seats(runtime, self._account_id, known_ids)
        with runtime.sessions() as session:
            return {member_id: _final_result(session, one) for member_id, one in assignment_ids.items()}

    def _assignment_id(self, session: Session, document: Mapping[str, Any]) -> int | None:
        """The assignment behind a member document. A repeated call did not create it, and looks it up; an
        invitation that was confirmed under another member id meanwhile is found by its address.
        """
        member_id, email = document["member_id"], document["email"]
        if member_id in self._created:
            return self._created[member_id]
        live = assignment.live(session, self._account_id, member_id)
        if live is None and email is not None:
            live = assignment.live_address(session, self._account_id, email)
        return assignment.newest_id(session, self._account_id, member_id) if live is None else live.id


class _SingleClaim:
    """One call that claims a seat for one person."""

    def __init__(self, account_id: str, request: ClaimRequest) -> None:
        self._account_id = account_id
        self._request = request
        self._pending = _PendingClaims(account_id)

    def claim(self, session: Session) -> Result:
        """Claim the seat, or hold one that is to be bought: then the status is 202."""
        catalog, cause = app_context().runtime.catalog, app_cause("claim")
        with role_warnings_on_refusal(self._request.role):
            outcome = pending_claims.claim(session, self._account_id, self._request, catalog, cause)
        self._pending.add([outcome])
        return Result(_status(outcome), member_document(outcome.assignment, self._request.role))

    def finish(self, first: Result) -> Result:
        """The final result: if the seat is to be bought, after waiting for the purchase."""
        if first.status != HTTPStatus.ACCEPTED:
            return first
        return self._pending.wait([first.body])[first.body["member_id"]]


class _BatchClaim:
    """One call that claims seats for many people."""

    def __init__(self, account_id: str, mode: str, requests: Sequence[ClaimRequest]) -> None:
        self._account_id = account_id
        self._mode = mode
        self._requests = requests
        self._pending = _PendingClaims(account_id)

    def claim(self, session: Session) -> Result:
        """Claim the seats: all or none, or each by itself. Results with status 202 are still to be bought."""
        is_granted, outcomes = self._outcomes(session)
        if is_granted:
            self._pending.add(one for one in outcomes if isinstance(one, ClaimOutcome))
        results = [
            _claim_result(request, outcome, is_granted=is_granted)
            for request, outcome in zip(self._requests, outcomes, strict=True)
        ]
        return self._response(results) if is_granted else self._refusal(results)

    def finish(self, first: Result) -> Result:
        """The final result: if some seats are to be bought, after waiting for the purchase."""
        if first.status != HTTPStatus.OK:
            return first
        results = first.body["results"]
        pending = [one["assignment"] for one in results if _is_pending(one)]
        if not pending:
            return first
        final = self._pending.wait(pending)
        return self._response([_with_final(one, final) if _is_pending(one) else one for one in results])

    def _outcomes(self, session: Session) -> tuple[bool, Sequence[Outcome]]:
        """False if the whole batch is refused, and the outcome of each claim."""
        catalog, cause = app_context().runtime.catalog, app_cause("batch")
        if self._mode == "all":
            return batch_claims.claim_all(session, self._account_id, self._requests, catalog, cause)
        return True, batch_claims.claim_each(session, self._account_id, self._requests, catalog, cause)

    def _response(self, results: Sequence[Mapping[str, Any]]) -> Result:
        return Result(HTTPStatus.OK, {"mode": self._mode, **_totals(results), "results": results})

    def _refusal(self, results: Sequence[Mapping[str, Any]]) -> Result:
        totals = {**_totals(results), "granted": 0}
        refusal = BatchRefused(
            f"{totals['refused']} of {len(results)} claims are refused, so none was granted.",
            details={"mode": self._mode, **totals, "results": results},
        )
        return Result(HTTPStatus.CONFLICT, problems.of_error(refusal))


def _status(outcome: ClaimOutcome) -> HTTPStatus:
    if outcome.assignment.awaits is not None:
        return HTTPStatus.ACCEPTED
    return HTTPStatus.CREATED if outcome.is_new else HTTPStatus.OK


def _claim_result(request: ClaimRequest, outcome: Outcome, *, is_granted: bool) -> dict[str, Any]:
    """One entry of `results`. If the whole batch is refused, a granted claim was rolled back and has no
    assignment to show.
    """
    if not isinstance(outcome, ClaimOutcome):
        problem = {**problems.of_error(outcome), **role_warnings(request.role)}
        return _entry(request.member_id, problem["status"], problem=problem)
    if not is_granted:
        return _entry(request.member_id, HTTPStatus.CREATED if outcome.is_new else HTTPStatus.OK)
    return _entry(
        request.member_id, _status(outcome), assignment=member_document(outcome.assignment, request.role)
    )


def _entry(
    member_id: str,
    status: int,
    *,
    assignment: Mapping[str, Any] | None = None,
    problem: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {"member_id": member_id, "status": status, "assignment": assignment, "problem": problem}


def _is_pending(result: Mapping[str, Any]) -> bool:
    return bool(result["status"] == HTTPStatus.ACCEPTED)


def _with_final(result: Mapping[str, Any], final: Mapping[str, Result]) -> dict[str, Any]:
    """The entry of a pending claim, with the final result of its member in place of the first one."""
    answer = final[result["assignment"]["member_id"]]
    if answer.status == HTTPStatus.CONFLICT:
        return {**result, "status": answer.status, "assignment": None, "problem": answer.body}
    return {**result, "status": answer.status, "assignment": answer.body}


def _totals(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    refused = sum(result["problem"] is not None for result in results)
    pending = sum(map(_is_pending, results))
    return {"granted": len(results) - refused - pending, "waiting": pending, "refused": refused}


def _final_result(session: Session, assignment_id: int | None) -> Result:
    """The member if the seat is still held or was bought; 409 with the reason if it was released."""
    found = None if assignment_id is None else session.get(Assignment, assignment_id)
    if found is not None and found.state != AssignmentState.RELEASED:
        return Result(_status(ClaimOutcome(found, is_new=True)), member_document(found))
    reason = "The seat was released while the purchase was under way. Claim again."
    if found is not None:
        newest = audit.newest_of_member(session, found.account_id, found.member_id)
        if newest is not None and newest.source == pending_claims.SOURCE:
            reason = newest.reason
    return Result(HTTPStatus.CONFLICT, problems.of_error(NoSeatAvailable(reason)))
