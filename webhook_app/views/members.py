"""Members: change them, free their seats, see who sits where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Final

from flask import Response
from sqlalchemy.orm import Session

from domain import role_names
from domain.errors import Refused
from models import account, assignment
from models.api_key import Scope
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from services.ledger import claims
from services.ledger import members as member_changes
from services.ledger.members import MemberUpdate
from webhook_app.auth import caller, needs
from webhook_app.context import app_context
from webhook_app.idempotency import Result, respond_once
from webhook_app.responses import KEYED, WITH_BODY, WRITING, answer, conditional, dumped, responses
from webhook_app.routes import Routes
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

_GIVEN: Final = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})

members_api = Routes("members", tag="Members")


@members_api.get(
    "/v1/accounts/<account_id>/members/<member_id>",
    summary="One member: whether they have a seat, and why",
    description="Held, active and suspended members; `occupies_seat` is the answer. 404 `member_not_found` "
    "if nobody of this id is there, with `released_at` if somebody was. Answers 304 to If-None-Match.",
    responses={**responses(Member, *KEYED, 404), "304": None},
)
@needs(Scope.READ)
def member(path: MemberPath) -> Response:
    with app_context().runtime.sessions() as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})  # one trip and not three
        body = dumped(shown(member_changes.get(session, path.account_id, path.member_id)))
    return conditional(body, f'"{blake2b(path.account_id.encode() + body, digest_size=12).hexdigest()}"')


@members_api.post(
    "/v1/accounts/<account_id>/members/<member_id>/rename",
    summary="Give a member another id",
    description="Seat, state, address and history stay; the old id names nobody from then on, and changes of "
    "seats that are to release the member do so under the new id. An invitation under the new id is merged. "
    "409 `member_id_taken` if another member has it. Audited.",
    responses=responses(Member, *WITH_BODY, 404, 409),
)
@needs(Scope.CLAIM)
def rename_member(path: MemberPath, body: RenameBody) -> Response:
    def work(session: Session) -> Result:
        renamed = member_changes.rename(
            session, path.account_id, path.member_id, body.member_id, asked_for("rename")
        )
        return Result(HTTPStatus.OK, shown(renamed))

    return respond_once(work, still_holds=still_members(path.account_id))


@members_api.patch(
    "/v1/accounts/<account_id>/members/<member_id>",
    summary="Change a member: role, state, protection, name, address, last activity",
    description="A change of role is a move between seat types in one step, reactivating is a claim: both "
    "may be refused like one. The address of an invitation is merged into the member. 409 `wrong_state`, "
    "`hold_expired`, `email_taken`.",
    responses=responses(Member, *WITH_BODY, 404, 409),
)
@needs(Scope.CLAIM)
def patch_member(path: MemberPath, body: MemberChange) -> Response:
    wanted = body.model_dump()
    state = None if body.state is None else AssignmentState(body.state)

    def work(session: Session) -> Result:
        with role_warned_of(body.role):
            person = member_changes.update_member(
                session,
                path.account_id,
                path.member_id,
                MemberUpdate(**{**wanted, "state": state}),
                catalog=app_context().runtime.catalog,
                cause=asked_for("change"),
            )
        return Result(HTTPStatus.OK, shown(person))

    return respond_once(work, still_holds=still_members(path.account_id))


@members_api.delete(
    "/v1/accounts/<account_id>/members/<member_id>",
    summary="Release a member's seat",
    description="200, and 200 again: `released` tells whether there was a seat to free.",
    responses=responses(Released, *WRITING, 404),
)
@needs(Scope.CLAIM)
def release(path: MemberPath) -> Response:
    def work(session: Session) -> Result:
        freed = claims.release(session, path.account_id, path.member_id, asked_for("release"))
        return Result(HTTPStatus.OK, {"member_id": path.member_id, "released": freed})

    def is_still_gone(session: Session, _answer: Result) -> bool:
        return not assignment.live_ids(session, path.account_id, [path.member_id])

    return respond_once(work, still_holds=is_still_gone)


@members_api.get(
    "/v1/accounts/<account_id>/members",
    summary="Who sits in the account",
    description="Free roles are listed with the reason why they occupy nothing.",
    responses=responses(Members, *KEYED, 404),
)
@needs(Scope.READ)
def members(path: AccountPath, query: MembersQuery) -> Response:
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
    return answer({"members": [shown(one) for one in page.assignments], "next_cursor": page.next_cursor})


def still_members(account_id: str) -> Callable[[Session, Result], bool]:
    """Whether everybody whom a kept answer shows as a member of the account is still there.

    A key that is used again after a release is a new request: its answer must not show a seat that was given
    back. What waits for a purchase is not judged here.
    """

    def judge(session: Session, answer: Result) -> bool:
        shown_then = set(_shown_members(answer))
        return shown_then <= set(assignment.live_ids(session, account_id, shown_then))

    return judge


def _shown_members(answer: Result) -> Iterator[str]:
    """The ids of the members in the answer, a single one or the results of a batch."""
    alone = {"status": answer.status, "assignment": answer.body}
    for result in answer.body.get("results", [alone]):
        if result["status"] in _GIVEN and result["assignment"] is not None:
            yield result["assignment"]["member_id"]


def shown(person: Assignment, asked_role: str | None = None) -> dict[str, Any]:
    """The assignment as the API shows it, with a warning if the role is probably a slip: the role that a
    claim asked for, else the member's own.
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
        **role_warnings(asked_role or person.role),
    }


def role_warnings(role: str) -> Mapping[str, Sequence[str]]:
    """The field `warnings` of an answer about this role; nothing if there is none."""
    warning = role_names.warning(app_context().runtime.catalog, role)
    return {} if warning is None else {"warnings": [warning]}


@contextmanager
def role_warned_of(role: str | None) -> Iterator[None]:
    """Give a refusal the warnings about the role that was asked for, which may be why it was refused."""
    try:
        yield
    except Refused as refused:
        refused.details = {**refused.details, **role_warnings(role or "")}
        raise


def asked_for(source: str) -> Cause:
    """The app's own wish, through this door."""
    return Cause(actor=caller().actor, source=source, reason="asked for by the app")
