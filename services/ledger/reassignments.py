"""Reassignments: move a seat from one member to another in one step, so that nobody else can claim it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from domain.catalog.model import Catalog
from domain.errors import WrongState
from models.assignment import Assignment
from models.audit import Cause
from services.ledger import claims, members, persons
from services.ledger.claims import ClaimRequest
from services.ledger.locked_account import LockedAccount, changing


def reassign(
    session: Session,
    account_id: str,
    member_id: str,
    request: ClaimRequest,
    *,
    catalog: Catalog,
    cause: Cause,
) -> Assignment:
    """Release the seat of the member, and give it to the person of the request; returns that assignment.

    The number of used seats stays, so no policy is asked: an account over its limit may reassign, a suspended
    or ended one may not. Both audit entries have one reason, which names both members.

    Raises `AccountNotFound`, `MemberNotFound`, `HoldExpired`, `UnknownRole`, `ClaimsBlocked`, `EmailTaken`,
    and `WrongState` if the member has no seat to give, the person cannot take it, or the role means another
    seat type.
    """
    with changing(session, account_id) as account:
        holder = members.live_row(account, member_id)
        seat_type = _seat_type(holder)
        if (blocked := claims.refusal_by_status(account, seat_type)) is not None:
            raise blocked
        _check_role(holder, request.role, catalog.seat_type(request.role))
        claims.mark_due_if_catalog_changed(account, catalog)
        return _move_seat(account, holder, request, cause)


def _seat_type(holder: Assignment) -> str:
    """The type of the seat that the member can give. Raises `WrongState` if there is none."""
    if holder.awaits is not None:
        raise claims.seat_is_being_bought(holder)
    if holder.seat_type is None or not holder.occupies_seat:
        raise WrongState(
            f"Member {holder.member_id!r} has no seat to reassign ({holder.reason}). Claim a seat for the "
            "other member instead.",
            details={"member_id": holder.member_id, "state": holder.state},
        )
    return holder.seat_type


def _check_role(holder: Assignment, role: str, seat_type: str | None) -> None:
    """Raise `WrongState` if the role needs no seat or a seat of another type than the member's."""
    if seat_type != holder.seat_type:
        needed = "no seat" if seat_type is None else f"a {seat_type} seat"
        raise WrongState(
            f"The role {role!r} needs {needed}, but member {holder.member_id!r} has a {holder.seat_type} "
            "seat. Name a role of that seat type, or claim a seat for the other member instead.",
            details={"member_id": holder.member_id, "state": holder.state, "seat_type": holder.seat_type},
        )


def _move_seat(account: LockedAccount, holder: Assignment, request: ClaimRequest, cause: Cause) -> Assignment:
    claims.release_lapsed(account)  # a lapsed invitation of the next person is no seat of theirs
    person = persons.find(account.session, account.account_id, request.member_id, request.email)
    if person is not None:
        for row in person.rows:
            _check_can_take(row, holder, request)
    reassigned = replace(
        cause, reason=f"seat reassigned from member {holder.member_id!r} to member {request.member_id!r}"
    )
    rows = [holder, *(() if person is None else person.rows)]
    with claims.change_rows(account, rows, reassigned, cause_of_others=reassigned):
        holder.give_back(account.now)
        if person is None:
            inserted = claims.insert_row(account, request, holder.seat_type)
            assert inserted is not None  # the account is locked, and no row of the person was found
            rows.append(inserted)
        else:
            persons.merge(account.session, person, account.now)
            claims.apply_claim(person.row, request, holder.seat_type)
    return rows[-1]


def _check_can_take(row: Assignment, holder: Assignment, request: ClaimRequest) -> None:
    """Raise unless the next person, who has this row already, can take the holder's seat."""
    if row is holder and request.member_id != holder.member_id:
        raise persons.email_taken(holder)  # the same person under another id: that is a change of the id
    if row.awaits is not None:
        raise claims.seat_is_being_bought(row)
    if row.occupies_seat:
        raise WrongState(
            f"Member {row.member_id!r} has a {row.seat_type} seat already, and one person has one seat. Name "
            f"another member, or release member {holder.member_id!r}.",
            details={"member_id": row.member_id, "state": row.state, "seat_type": row.seat_type},
        )
    claims.check_claim_again(row, holder.seat_type)
