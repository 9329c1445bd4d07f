"""Planned changes: what a look means for changes that were sent, and whose seats go with them.

Runs inside the ledger, between what the snapshot gives and the judgement of the limits: so the people who
were to leave have left by the time it is asked whether there are too many, and nobody is warned in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.orm import Session

from models import assignment, expansion, seat_change
from models.audit import Cause
from models.book import Book, Subject, post
from models.seat_change import ChangeState, SeatChange
from seats.drift import RETRIEVED
from seats.plan import Plan
from seats.seat_changes import SeatStep, Steps, Trace, plan_from_json, trace_of
from seats.snapshot import SubscriptionSnapshot


def plan_of(change: SeatChange) -> Plan:
    """What was, or is to be, sent."""
    return plan_from_json(change.plan)


def steps_of(change: SeatChange) -> Steps:
    """The account's seats before and after it, as they were when it was previewed."""
    return {name: SeatStep(**step) for name, step in change.seats.items()}


@dataclass(frozen=True, slots=True)
class Ours:
    """What a snapshot shows for the first time and is of our own making: in these fields, and by whom the
    seats were moved, if they were.
    """

    fields: frozenset[str] = frozenset()
    cause: Cause | None = None


_SCHEDULE: Final = frozenset({"scheduled_change"})


def carry_out(session: Session, books: Sequence[Book], snapshot: SubscriptionSnapshot, cause: Cause) -> Ours:
    """Settle the subscription's changes by what the snapshot shows of them."""
    ours = Ours()
    for change in seat_change.sent_for(session, snapshot.subscription_id):
        was, trace = change.state, trace_of(plan_of(change), snapshot)
        if trace is Trace.APPLIED:
            ours = Ours(frozenset(RETRIEVED), _cause_of(change, cause))
            _apply(session, books, change, ours.cause or cause)
            continue
        if trace is Trace.SCHEDULED:
            _see_scheduled(session, change)
        elif change.state == ChangeState.SCHEDULED:
            _miss(session, books[0], change)
        if change.state != was and change.code != seat_change.NO_LONGER_SCHEDULED:
            ours = Ours(ours.fields | _SCHEDULE, ours.cause)
    return ours


def _cause_of(change: SeatChange, look: Cause) -> Cause:
    """Who confirmed the change, by the look that shows it."""
    reason = f"seat change {change.id}"
    return replace(look, actor=change.actor or look.actor, source="seat_change", reason=reason)


def _apply(session: Session, books: Sequence[Book], change: SeatChange, cause: Cause) -> None:
    """Also what was taken for failed, or for taken back: the snapshot is the truth."""
    home = next((book for book in books if book.account_id == change.account_id), None)
    message = None
    if home is not None:
        _release(session, home, change, cause)
    elif change.release:
        message = "The subscription belongs to another account by now, so nobody was released."
    seat_change.move(session, change, ChangeState.APPLIED, message=message)
    if change.is_automatic:
        expansion.hurry(session, change.account_id)


def _see_scheduled(session: Session, change: SeatChange) -> None:
    if change.state != ChangeState.SCHEDULED:
        seat_change.move(session, change, ChangeState.SCHEDULED)
    change.missed_at = None


def _miss(session: Session, book: Book, change: SeatChange) -> None:
    """It was scheduled and is not shown: taken back, or just being carried out. Once more before that is
    believed, unless we have taken it back ourselves.
    """
    if change.code != seat_change.TAKEN_BACK:
        if change.missed_at is None:
            change.missed_at, change.next_at = book.now, book.now + seat_change.SECOND_LOOK
        if book.now < change.missed_at + seat_change.SECOND_LOOK:
            return
    seat_change.move(
        session,
        change,
        ChangeState.CANCELLED,
        code=change.code or seat_change.NO_LONGER_SCHEDULED,
        message="The provider no longer has it scheduled: it was taken back, or its payment failed. Nobody "
        "was released for it.",
    )


def _release(session: Session, book: Book, change: SeatChange, cause: Cause) -> None:
    """Give back the seats of the members who were chosen, as far as they still sit on what is given back."""
    fewer = {name for name, step in steps_of(change).items() if step.difference < 0}
    for member_id in change.release:
        person = assignment.live(session, book.account_id, member_id)
        if person is None or not person.occupies_seat or person.seat_type not in fewer:
            continue
        facts, counted = person.facts(), person.counted
        person.give_back(book.now)
        session.flush()
        # Half of a change: the limits are judged when the account has been worked out anew.
        book.move(person.seat_type, -counted, is_half=True)
        subject = Subject(member_id=person.member_id, before=facts, after=person.facts())
        post(session, book, cause, subject, is_news=False)
