"""Sitters: who occupies an account's seats, and who of them has to go when seats are taken away."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from domain import reduction
from domain.reduction import SeatHolder
from models.assignment import Assignment, AssignmentState

# An account may have a hundred thousand: what an order looks at is fetched, and no objects are tracked.
_SITTERS = select(
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
    """Everybody on a seat of these types, active or held, in no order; `domain.reduction` has the orders."""
    if not seat_types:
        return ()
    found = session.execute(
        _SITTERS.where(Assignment.account_id == account_id, Assignment.seat_type.in_(seat_types))
    )
    names = tuple(found.keys())
    return [SeatHolder(**dict(zip(names, row, strict=True))) for row in found]


def to_suspend(session: Session, account_id: str, seat_type: str, over: int) -> Sequence[str]:
    """The members to suspend when `over` seats are too many: who sits active among the first so many of
    the order.

    Held seats in front of them count, since they go by being released (`to_release`), never by being
    suspended: nobody who works loses a seat for an invitation's sake. The answer is the same before and
    after that release, if `over` is what is over by then. Protected members are never chosen, so too many
    may stay. Whoever acts on the answer has the account locked, so that it stays true.
    """
    return _going(session, account_id, seat_type, AssignmentState.ACTIVE, over)


def to_release(session: Session, account_id: str, seat_type: str, over: int) -> Sequence[str]:
    """The members whose held seats to release then, the newest invitation first; none is protected."""
    return _going(session, account_id, seat_type, AssignmentState.HELD, over)


def _going(
    session: Session, account_id: str, seat_type: str, state: AssignmentState, over: int
) -> Sequence[str]:
    """Who is in this state among the `over` unprotected people who would leave first."""
    unprotected = (one for one in on_types(session, account_id, [seat_type]) if not one.protected)
    going = (leaver.holder for leaver in reduction.first_to_leave(unprotected, over))
    return [one.member_id for one in going if one.state == state.value]
