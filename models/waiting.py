"""Waiting claims: seats that are held until they are bought.

held, awaiting a purchase -> active, or an invitation   a look at the provider shows the seat
                          -> released                   it is not bought; the app is told why
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from models import assignment, expansion, notice, persons, seat_change, seating
from models.assignment import Assignment, AssignmentState, Counted
from models.audit import Cause
from models.book import Book, post
from models.expansion import Present
from models.seat_change import ChangeState
from models.seating import Seated, Wish
from seats import policies
from seats.catalog import Catalog
from seats.errors import PurchaseNeeded
from seats.expansion import for_nobody_there
from seats.notices import Notice, NoticeType

# Longer than the longest payment is waited for.
_LASTS: Final = timedelta(days=5)
SOURCE: Final = "purchase"
"""The source of audit rows about what became of a claim that waited."""

_BOUGHT: Final = Cause(actor="system:auto_expand", source=SOURCE, reason="the seat has been bought")


def claim(session: Session, account_id: str, wish: Wish, catalog: Catalog, cause: Cause) -> Seated:
    """Seat the person, or hold a seat until it is bought, where the account's policy buys what is missing.

    Raises what `seating.claim` raises: `PurchaseNeeded` if nothing can be bought automatically, as for a
    member who moves from another seat type, and `NoSeatAvailable` if no more may be.
    """
    try:
        return seating.claim(session, account_id, wish, catalog, cause)
    except PurchaseNeeded:
        if persons.find(session, account_id, wish.member_id, wish.email) is not None:
            raise  # a move to another seat type: nothing is bought for a change of role
        seat_type = catalog.seat_type(wish.role)
        assert seat_type is not None  # a free role is never refused
    book = seating.open_to_seat(session, account_id, catalog)
    refused = expansion.refusal(session, Present.of(book), seat_type, catalog)
    if refused is not None:
        refused.details = {**seating.numbers(seat_type, book.of(seat_type)), **refused.details}
        raise refused
    expansion.want(session, account_id)
    return seating.hold_until_bought(session, book, wish, seat_type, cause, lasts=_LASTS)


def demand(book: Book) -> Mapping[str, int]:
    """The seats the account should have in all for everybody to have one, of the types in which somebody who
    waits has none; nothing for people who were beyond the limit before.
    """
    return {
        seat_type: balance.used
        for seat_type, balance in book.balances.items()
        if 0 < balance.overage <= balance.waiting
    }


def settle(session: Session, book: Book) -> None:
    """Seat those for whom there is a seat now, in the order in which they came; refuse those for whom none
    is going to be bought any more.
    """
    queue = assignment.waiting(session, book.account_id)
    if book.status not in seating.REFUSING:
        _seat_first(session, book, queue)
    paid_for = _paid_for(session, book, queue)
    for person in queue:
        if person.awaits is not None and (reason := _why_not(book, person, paid_for)) is not None:
            refuse(session, book, [person], reason)


def _is_late(book: Book, person: Assignment) -> bool:
    return person.expires_at is None or person.expires_at <= book.now


def _paid_for(session: Session, book: Book, queue: Sequence[Assignment]) -> Collection[int]:
    """Those for whom a purchase is under way: whatever time is over, they are waited with."""
    if not any(_is_late(book, person) for person in queue):
        return ()
    newest = seat_change.newest_automatic(session, book.account_id)
    return newest.buys_for if newest is not None and newest.state == ChangeState.SUBMITTED else ()


def _why_not(book: Book, person: Assignment, paid_for: Collection[int]) -> str | None:
    """Why somebody for whom there is no seat waits in vain."""
    if (refused := seating.REFUSING.get(book.status)) is not None:
        return refused
    if _is_late(book, person) and person.id not in paid_for:
        return "No seat could be bought in time."
    seat_type = str(person.seat_type)
    if not policies.load(book.rules_of(seat_type).policy).BUYS:
        return "The account's policy does not buy seats any more."
    balance = book.of(seat_type)
    if balance.is_over:
        return for_nobody_there(seat_type, balance.used - balance.waiting, balance.purchased)
    return None


def refuse(session: Session, book: Book, people: Sequence[Assignment], reason: str) -> None:
    """Release the seats that are held for them, and tell the app why."""
    cause = Cause(actor="system:auto_expand", source=SOURCE, reason=reason)
    for person in people:
        told = {"member_id": person.member_id, "seat_type": person.seat_type, "reason": reason}
        with seating.changed(session, book, person, cause, is_news=False):
            person.give_back(book.now)
        notice.put(session, book.account_id, [Notice(NoticeType.CLAIM_REFUSED, told)])
    if people:
        post(session, book, cause)


def _seat_first(session: Session, book: Book, queue: Sequence[Assignment]) -> None:
    """All for whom there is a seat, or whose policy needs none, without a word of the lines between."""
    granted = [person for person in queue if _seat(session, book, person)]
    if granted:
        post(session, book, _BOUGHT)


def _seat(session: Session, book: Book, person: Assignment) -> bool:
    """Seat the person if a claim would be granted to them now; whether it was."""
    if person.seat_type is not None and not _has_room(book, person.seat_type):
        return False
    with seating.changed(session, book, person, _BOUGHT, is_news=False):
        person.state, person.awaits = AssignmentState(person.awaits or person.state), None
        is_invited = person.state == AssignmentState.HELD
        hold = book.rules_of(person.seat_type).hold
        person.expires_at = book.now + hold if is_invited else None
    told = {"member_id": person.member_id, "seat_type": person.seat_type, "state": person.state}
    notice.put(session, book.account_id, [Notice(NoticeType.CLAIM_GRANTED, told)])
    return True


def _has_room(book: Book, seat_type: str) -> bool:
    """Whether one more can sit beside those who sit there, who waits left aside."""
    balance = book.of(seat_type)
    seated = balance.moved(Counted(held=-balance.waiting, waiting=-balance.waiting))
    rules = book.rules_of(seat_type)
    situation = seated.situation(seat_type, now=book.now, rules=rules)
    return policies.load(rules.policy).decide(situation).granted
