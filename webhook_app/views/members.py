"""Members: list and read them, change and rename them, reassign and release their seats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Final

from flask import Response
from sqlalchemy.orm import Session

from domain import role_names
from domain.errors import Refused
from models import account, assignment
from models.api_key import Scope
from models.assignment import Assignment, AssignmentPage, AssignmentState
from models.audit import Cause
from services.ledger import claims, reassignments
from services.ledger import members as member_changes
from services.ledger.claims import ClaimRequest
from services.ledger.members import MemberUpdate
from services.reports import history
from services.reports.history import MemberFilter
from webhook_app.auth import caller, needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_once
from webhook_app.past import past_response
from webhook_app.responses import (
    KEYED,
    WITH_BODY,
    WRITING,
    conditional_response,
    json_bytes,
    json_response,
    responses,
)
from webhook_app.routes import Routes
from webhook_app.schemas.claims import ClaimBody
from webhook_app.schemas.common import AccountPath
from webhook_app.schemas.members import (
    Member,
    MemberChange,
    MemberPath,
    Members,
    MembersQuery,
    Released,
    RenameBody,
)

_SEATED: Final = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})

members_api = Routes("members", tag="Members")


@members_api.get(
    "/v1/accounts/<account_id>/members/<member_id>",
    summary="Get one member: whether they hold a seat, and why",
    description="Returns held, active and suspended members; `occupies_seat` tells whether the member holds "
    "a seat. 404 `member_not_found` if the id is unknown or was released; then with `released_at`. Supports "
    "If-None-Match (304).",
    responses={**responses(Member, *KEYED, 404), "304": None},
)
@needs(Scope.READ)
def member(path: MemberPath) -> Response:
    with app_context().runtime.sessions() as session:
        # One round trip instead of three.
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        body = json_bytes(member_document(member_changes.get(session, path.account_id, path.member_id)))
    return conditional_response(
        body, f'"{blake2b(path.account_id.encode() + body, digest_size=12).hexdigest()}"'
    )


@members_api.post(
    "/v1/accounts/<account_id>/members/<member_id>/rename",
    summary="Change the id of a member",
    description="The seat, state, address and history are kept. The old id is unknown afterwards, and open "
    "seat changes that release the member use the new id. An invitation under the new id is merged. 409 "
    "`member_id_taken` if another member has the new id. Audited.",
    responses=responses(Member, *WITH_BODY, 404, 409),
)
@needs(Scope.CLAIM)
def rename_member(path: MemberPath, body: RenameBody) -> Response:
    def work(session: Session) -> Result:
        renamed = member_changes.rename(
            session, path.account_id, path.member_id, body.member_id, app_cause("rename")
        )
        return Result(HTTPStatus.OK, member_document(renamed))

    return respond_once(work, still_holds=still_members(path.account_id))


@members_api.post(
    "/v1/accounts/<account_id>/members/<member_id>/reassign",
    summary="Reassign the seat of a member to another member",
    description="The member is released and the person in the request gets the seat, in one step: nobody "
    "else can take it in between. The response is the new holder. Used seats stay as they are, so it works "
    "in an account that is over its limit too. 409 `wrong_state` if the member has no seat, the seat is "
    "still being bought, the role means another seat type, or the other member is suspended or has a seat; "
    "`email_taken`, also for the address of the member who gives the seat, because that is the same person; "
    "`claims_blocked` in a suspended or ended account; `hold_expired` for a lapsed invitation. Takes an "
    "`Idempotency-Key`. Audited under one reason that names both members.",
    responses=responses(Member, *WITH_BODY, 404, 409),
)
@needs(Scope.CLAIM)
def reassign_seat(path: MemberPath, body: ClaimBody) -> Response:
    wanted = ClaimRequest(**body.model_dump())

    def work(session: Session) -> Result:
        catalog, cause = app_context().runtime.catalog, app_cause("reassign")
        with role_warnings_on_refusal(wanted.role):
            holder = reassignments.reassign(
                session, path.account_id, path.member_id, wanted, catalog=catalog, cause=cause
            )
        return Result(HTTPStatus.OK, member_document(holder, wanted.role))

    return respond_once(work, still_holds=still_members(path.account_id))


@members_api.patch(
    "/v1/accounts/<account_id>/members/<member_id>",
    summary="Update a member: role, state, protection, name, e-mail address, last activity",
    description="A new role may move the member to another seat type, in one step. That and reactivating a "
    "suspended member may be refused like a claim. An invitation with the same e-mail address is merged "
    "into the member. 409 `wrong_state`, `hold_expired`, `email_taken`.",
    responses=responses(Member, *WITH_BODY, 404, 409),
)
@needs(Scope.CLAIM)
def patch_member(path: MemberPath, body: MemberChange) -> Response:
    fields = body.model_dump()
    state = None if body.state is None else AssignmentState(body.state)

    def work(session: Session) -> Result:
        with role_warnings_on_refusal(body.role):
            updated = member_changes.update_member(
                session,
                path.account_id,
                path.member_id,
                MemberUpdate(**{**fields, "state": state}),
                catalog=app_context().runtime.catalog,
                cause=app_cause("change"),
            )
        return Result(HTTPStatus.OK, member_document(updated))

    return respond_once(work, still_holds=still_members(path.account_id))


@members_api.delete(
    "/v1/accounts/<account_id>/members/<member_id>",
    summary="Release a member's seat",
    description="200, also if repeated; `released` tells whether the member had a seat.",
    responses=responses(Released, *WRITING, 404),
)
@needs(Scope.CLAIM)
def release(path: MemberPath) -> Response:
    def work(session: Session) -> Result:
        freed = claims.release(session, path.account_id, path.member_id, app_cause("release"))
        return Result(HTTPStatus.OK, {"member_id": path.member_id, "released": freed})

    def is_still_gone(session: Session, _answer: Result) -> bool:
        return not assignment.live_ids(session, path.account_id, [path.member_id])

    return respond_once(work, still_holds=is_still_gone)


@members_api.get(
    "/v1/accounts/<account_id>/members",
    summary="List the members of the account, now or at an earlier time",
    description="Members with free roles are listed too, with the reason why they take no seat. With `at`, "
    "ids, roles and states are those of that time, from the audit. Names and addresses, also to filter by, "
    "are those stored now, because the audit has none; `last_active_at` is null. 404 `not_known_then` for a "
    "time before the account's first change.",
    responses=responses(Members, *KEYED, 404),
)
@needs(Scope.READ)
def members(path: AccountPath, query: MembersQuery) -> Response:
    if query.at is not None:
        at = query.at
        return past_response(at, lambda session: _past_members(session, path.account_id, at, query))
    with app_context().runtime.sessions() as session:
        account.get(session, path.account_id)
        page = assignment.page(
            session,
            path.account_id,
            state=query.state,
            member_id=query.member_id,
            email=query.email,
            role=query.role,
            seat_type=query.type,
            after=query.cursor,
            limit=query.limit,
        )
    return json_response(_members_document(page))


def _past_members(
    session: Session, account_id: str, moment: datetime, query: MembersQuery
) -> Mapping[str, Any]:
    wanted = MemberFilter(
        state=query.state,
        member_id=query.member_id,
        email=query.email,
        role=query.role,
        seat_type=query.type,
    )
    after = query.cursor or 0
    return _members_document(
        history.members_at(session, account_id, moment, wanted, after=after, limit=query.limit)
    )


def _members_document(page: AssignmentPage) -> Mapping[str, Any]:
    return {"members": [member_document(one) for one in page.assignments], "next_cursor": page.next_cursor}


def still_members(account_id: str) -> Callable[[Session, Result], bool]:
    """A check for `respond_once`: are all seat holders in a stored response still members of the account?

    If one was released since, the repeated call is carried out again: its response must not show a seat that
    the member no longer holds. Pending claims are not checked.
    """

    def are_still_members(session: Session, stored: Result) -> bool:
        member_ids = set(_seat_holders(stored))
        return member_ids <= set(assignment.live_ids(session, account_id, member_ids))

    return are_still_members


def _seat_holders(stored: Result) -> Iterator[str]:
    """The ids of the members in a stored response: of a single call, or of the results of a batch."""
    single = {"status": stored.status, "assignment": stored.body}
    for result in stored.body.get("results", [single]):
        if result["status"] in _SEATED and result["assignment"] is not None:
            yield result["assignment"]["member_id"]


def member_document(person: Assignment, requested_role: str | None = None) -> dict[str, Any]:
    """The member as the API returns it. `warnings` are about `requested_role`, by default the member's role;
    see `role_warnings`.
    """
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
        **role_warnings(requested_role or person.role),
    }


def role_warnings(role: str) -> Mapping[str, Sequence[str]]:
    """The field `warnings` if the role is probably misspelled (case, whitespace); otherwise nothing."""
    warning = role_names.warning(app_context().runtime.catalog, role)
    return {} if warning is None else {"warnings": [warning]}


@contextmanager
def role_warnings_on_refusal(role: str | None) -> Iterator[None]:
    """Add the warnings about the requested role to a refusal, since a misspelled role may be its reason."""
    try:
        yield
    except Refused as refused:
        refused.details = {**refused.details, **role_warnings(role or "")}
        raise


def app_cause(source: str) -> Cause:
    """The audit cause of a change that the app requested through this API."""
    return Cause(actor=caller().actor, source=source, reason="requested by the app")
