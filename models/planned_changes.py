"""Planned changes: what a look means for changes that were sent, and whose seats go with them.

Runs inside the ledger, between what the snapshot gives and the judgement of the limits: so the people who
were to leave have left by the time it is asked whether there are too many, and nobody is warned in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import assignment, seat_change
from models.assignment import AssignmentState
from models.audit import Cause
from models.book import Book, Subject, post
from models.seat_change import OPEN, ChangeState, SeatChange
from seats.plan import Plan
from seats.seat_changes import Trace, plan_from_json, trace_of
from seats.snapshot import SubscriptionSnapshot


def carry_out(session: Session, books: Sequence[Book], snapshot: SubscriptionSnapshot, cause: Cause) -> bool:
    """Settle the subscription's changes by what the snapshot shows of them; whether it shows one."""
    was_seen = False
    open_ones = session.scalars(
        select(SeatChange)
        .where(SeatChange.subscription_id == snapshot.subscription_id, SeatChange.state.in_(OPEN))
        .with_for_update()
    ).all()
    for change in open_ones:
        trace = trace_of(plan_of(change), snapshot)
        was_seen |= trace is not Trace.NONE
        if trace is Trace.APPLIED:
            for book in books:
                if book.account_id == change.account_id:
                    _release(session, book, change, cause)
            seat_change.move(session, change, ChangeState.APPLIED)
        elif trace is Trace.SCHEDULED and change.state == ChangeState.SUBMITTED:
            seat_change.move(session, change, ChangeState.SCHEDULED)
        elif trace is Trace.NONE and change.state == ChangeState.SCHEDULED:
            seat_change.move(
                session,
                change,
                ChangeState.CANCELLED,
                code="no_longer_scheduled",
                message="The provider no longer has it scheduled: it was taken back, or its payment failed. "
                "Nobody was released for it.",
            )
    return was_seen


def plan_of(change: SeatChange) -> Plan:
    return plan_from_json(change.plan)


def _release(session: Session, book: Book, change: SeatChange, cause: Cause) -> None:
    """Give back the seats of the members who were chosen, as far as they still sit there."""
    for member_id in change.release:
        person = assignment.live(session, book.account_id, member_id)
        if person is None or not person.occupies_seat:
            continue
        facts, (active, held) = person.facts(), person.counted
        person.state, person.expires_at = AssignmentState.RELEASED, None
        person.released_at = book.now
        session.flush()
        # Half of a change: the limits are judged when the account has been worked out anew.
        book.move(person.seat_type, active=-active, held=-held, is_half=True)
        subject = Subject(member_id=person.member_id, before=facts, after=person.facts())
        post(session, book, cause, subject, is_news=False)
