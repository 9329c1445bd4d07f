"""Seat holders: the members who use an account's seats, and who must leave if there are too many."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain import reduction
from domain.reduction import SeatHolder
from models.assignment import Assignment, AssignmentState

# An account may have a hundred thousand seat holders, so only the columns that a reduction order reads are
# selected, and no ORM objects are created.
_SEAT_HOLDERS = select(
    Assignment.member_id,
    Assignment.name,
    Assignment.role,
    Assignment.seat_type,
    Assignment.state,
    Assignment.protected,
    Assignment.claimed_at,
    Assignment.last_active_at,
    Assignment.expires_at,
).where(Assignment.state.in_((AssignmentState.ACTIVE, AssignmentState.HELD)))


def on_types(session: Session, account_id: str, seat_types: Collection[str]) -> Sequence[SeatHolder]:
    """All active and held members on seats of these types, unordered; `domain.reduction` orders them."""
    if not seat_types:
        return ()
    found = session.execute(
        _SEAT_HOLDERS.where(Assignment.account_id == account_id, Assignment.seat_type.in_(seat_types))
    )
    names = tuple(found.keys())
    return [SeatHolder(**dict(zip(names, row, strict=True))) for row in found]


def to_suspend(session: Session, account_id: str, seat_type: str, over: int) -> Sequence[str]:
    """Members to suspend when the account is `over` seats above its limit: the active ones among the first
    `over` members in reduction order.

    Held invitations among them are released instead, see `to_release`, so no working member loses a seat to
    an invitation. After that release, call this again with the remaining overage: the result is the same.
    Protected members are never chosen, so the account may stay over its limit. Lock the account first.
    """
    return _first_to_leave(session, account_id, seat_type, AssignmentState.ACTIVE, over)


def to_release(session: Session, account_id: str, seat_type: str, over: int) -> Sequence[str]:
    """Members whose held invitations to release when the account is `over` seats above its limit, the newest
    first. Protected members are never chosen.
    """
    return _first_to_leave(session, account_id, seat_type, AssignmentState.HELD, over)


def _first_to_leave(
    session: Session, account_id: str, seat_type: str, state: AssignmentState, over: int
) -> Sequence[str]:
    """The members in this state among the first `over` unprotected ones in reduction order."""
    unprotected = (one for one in on_types(session, account_id, [seat_type]) if not one.protected)
    first = (leaver.holder for leaver in reduction.first_to_leave(unprotected, over))
    return [holder.member_id for holder in first if holder.state == state.value]
