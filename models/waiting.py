"""Waiting claims: seats that are held until they are bought.

held, awaiting a purchase -> active, or an invitation   a look at the provider shows the seat
                          -> released                   it is not bought; the app is told why
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from models import assignment, expansion, notice, seating
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.book import Book, open_book, post
from models.expansion import Present
from models.seating import Seated, Wish
from seats import policies
from seats.catalog import Catalog
from seats.errors import PurchaseNeeded
from seats.notices import Notice, NoticeType

# Longer than the longest payment is waited for.
_LASTS: Final = timedelta(days=5)
_BOUGHT: Final = Cause(actor="system:auto_expand", source="purchase", reason="the seat has been bought")


def claim(session: Session, account_id: str, wish: Wish, catalog: Catalog, cause: Cause) -> Seated:
    """Seat the person, or hold a seat until it is bought, where the account's policy buys what is missing.

    Raises what `seating.claim` raises: `PurchaseNeeded` where nothing can be bought by itself, and
    `NoSeatAvailable` where no more may be.
    """
    try:
        return seating.claim(session, account_id, wish, catalog, cause)
    except PurchaseNeeded:
        seat_type = catalog.seat_type(wish.role)
        assert seat_type is not None  # a free role is never refused
    book = open_book(session, account_id)
    present = Present(account_id, book.balances, book.override, book.now)
    refused = expansion.refusal(session, present, seat_type, catalog)
    if refused is not None:
        refused.details = {**seating.numbers(seat_type, book.of(seat_type)), **refused.details}
        raise refused
    expansion.want(session, account_id)
    return seating.hold_until_bought(session, book, wish, seat_type, cause, lasts=_LASTS)


def demand(book: Book) -> Mapping[str, int]:
    """The seats the account should have in all for everybody to have one, of the types somebody waits for."""
    return {seat_type: balance.used for seat_type, balance in book.balances.items() if balance.waiting}


def settle(session: Session, book: Book) -> None:
    """Seat those for whom there is a seat now, in the order in which they came; refuse those who have waited
    too long, and those for whom nothing is bought any more.
    """
    queue = assignment.waiting(session, book.account_id)
    late = [person for person in queue if person.expires_at is None or person.expires_at <= book.now]
    refuse(session, book, late, "No seat could be bought in time.")
    _seat_first(session, book, [person for person in queue if person.awaits])
    stranded = [person for person in queue if person.awaits and not _is_bought_for(book, person)]
    refuse(session, book, stranded, "The account's policy does not buy seats any more.")


def _is_bought_for(book: Book, person: Assignment) -> bool:
    return person.seat_type is not None and policies.load(book.policy_of(person.seat_type)).BUYS


def refuse(session: Session, book: Book, people: Sequence[Assignment], reason: str) -> None:
    """Release the seats that are held for them, and tell the app why."""
    cause = Cause(actor="system:auto_expand", source="purchase", reason=reason)
    for person in people:
        told = {"member_id": person.member_id, "seat_type": person.seat_type, "reason": reason}
        with seating.changed(session, book, person, cause, is_news=False):
            person.give_back(book.now)
        notice.put(session, book.account_id, [Notice(NoticeType.CLAIM_REFUSED, told)])
    if people:
        post(session, book, cause)


def _seat_first(session: Session, book: Book, queue: Sequence[Assignment]) -> None:
    """As many of each seat type as there are seats for, without a word of the lines between."""
    places = Counter({name: balance.waiting - balance.overage for name, balance in book.balances.items()})
    granted = 0
    for person in queue:
        if person.seat_type is not None:
            places[person.seat_type] -= 1
            if places[person.seat_type] < 0:
                continue
        with seating.changed(session, book, person, _BOUGHT, is_news=False):
            person.state, person.awaits = AssignmentState(person.awaits or person.state), None
            is_invited = person.state == AssignmentState.HELD
            person.expires_at = book.now + book.hold if is_invited else None
        told = {"member_id": person.member_id, "seat_type": person.seat_type, "state": person.state}
        notice.put(session, book.account_id, [Notice(NoticeType.CLAIM_GRANTED, told)])
        granted += 1
    if granted:
        post(session, book, _BOUGHT)
