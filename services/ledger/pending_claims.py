"""Waiting claims: seats that are held until they are bought.

held, awaiting a purchase -> active, or an invitation   a look at the provider shows the seat
                          -> released                   it is not bought; the app is told why
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from domain import policies
from domain.balance import Counted
from domain.catalog.model import Catalog
from domain.errors import PurchaseNeeded
from domain.notices import Notice, NoticeType
from domain.purchase.daily_limit import over_limit_message
from models import assignment, automatic_purchases, purchase_queue
from models.assignment import Assignment, AssignmentState
from models.audit import Cause
from models.seat_change import ChangeState
from services.ledger import claims, persons, purchase_limits
from services.ledger.claims import ClaimOutcome, ClaimRequest
from services.ledger.locked_account import LockedAccount, changing
from services.ledger.purchase_limits import AccountView

# Longer than the longest payment is waited for.
_LASTS: Final = timedelta(days=5)
SOURCE: Final = "purchase"
"""The source of audit rows about what became of a claim that waited."""

_BOUGHT: Final = Cause(actor="system:auto_expand", source=SOURCE, reason="the seat has been bought")


def claim(
    session: Session, account_id: str, wish: ClaimRequest, catalog: Catalog, cause: Cause
) -> ClaimOutcome:
    """Lock the account and `claim_or_buy` for the person; raises `AccountNotFound` too."""
    with changing(session, account_id) as account:
        return claim_or_buy(account, wish, catalog, cause)


def claim_or_buy(account: LockedAccount, wish: ClaimRequest, catalog: Catalog, cause: Cause) -> ClaimOutcome:
    """Seat the person, or hold a seat until it is bought, where the account's policy buys what is missing.

    Raises what `seating.seat` raises: `PurchaseNeeded` if nothing can be bought automatically, as for a
    member who moves from another seat type, and `NoSeatAvailable` if no more may be.
    """
    session, account_id = account.session, account.account_id
    try:
        return claims.claim_locked(account, wish, catalog, cause)
    except PurchaseNeeded:
        if persons.find(session, account_id, wish.member_id, wish.email) is not None:
            raise  # a move to another seat type: nothing is bought for a change of role
        seat_type = catalog.seat_type(wish.role)
        assert seat_type is not None  # a free role is never refused
    refused = purchase_limits.why_not_bought(session, AccountView.of(account), seat_type, catalog)
    if refused is not None:
        refused.details = {**claims.figures(seat_type, account.of(seat_type)), **refused.details}
        raise refused
    purchase_queue.enqueue(session, account_id)
    return claims.hold_until_bought(account, wish, seat_type, cause, lasts=_LASTS)


def wanted_seats(account: LockedAccount) -> Mapping[str, int]:
    """The seats the account should have in all for everybody to have one, of the types in which somebody who
    waits has none; nothing for people who were beyond the limit before.
    """
    return {
        seat_type: balance.used
        for seat_type, balance in account.balances.items()
        if 0 < balance.overage <= balance.waiting
    }


def resolve(account: LockedAccount) -> None:
    """Seat those for whom there is a seat now, in the order in which they came; refuse those for whom none
    is going to be bought any more.
    """
    queue = assignment.awaiting_purchase(account.session, account.account_id)
    if account.status not in claims.REFUSING:
        for person in queue:
            _seat(account, person)
    paid_for = _paid_for(account, queue)
    for person in queue:
        if person.awaits is not None and (reason := _why_not(account, person, paid_for)) is not None:
            refuse(account, [person], reason)


def _is_late(account: LockedAccount, person: Assignment) -> bool:
    return person.expires_at is None or person.expires_at <= account.now


def _paid_for(account: LockedAccount, queue: Sequence[Assignment]) -> Collection[int]:
    """Those for whom a purchase is under way: whatever time is over, they are waited with."""
    if not any(_is_late(account, person) for person in queue):
        return ()
    newest = automatic_purchases.newest(account.session, account.account_id)
    return newest.buys_for if newest is not None and newest.state == ChangeState.SUBMITTED else ()


def _why_not(account: LockedAccount, person: Assignment, paid_for: Collection[int]) -> str | None:
    """Why somebody for whom there is no seat waits in vain."""
    if (refused := claims.REFUSING.get(account.status)) is not None:
        return refused
    if _is_late(account, person) and person.id not in paid_for:
        return "No seat could be bought in time."
    seat_type = str(person.seat_type)
    if not policies.load(account.rules_of(seat_type).policy).BUYS:
        return "The account's policy does not buy seats any more."
    balance = account.of(seat_type)
    if balance.is_over:
        return over_limit_message(seat_type, balance.used - balance.waiting, balance.purchased)
    return None


def refuse(account: LockedAccount, people: Sequence[Assignment], reason: str) -> None:
    """Release the seats that are held for them, and notify the app of the reason."""
    cause = Cause(actor="system:auto_expand", source=SOURCE, reason=reason)
    for person in people:
        told = {"member_id": person.member_id, "seat_type": person.seat_type, "reason": reason}
        claims.release_seat(account, person, cause)
        account.add_notice(Notice(NoticeType.CLAIM_REFUSED, told))


def _seat(account: LockedAccount, person: Assignment) -> None:
    """Seat the person if a claim would be granted to them now, as where the policy needs no free seat."""
    if person.seat_type is not None and not _has_room(account, person.seat_type):
        return
    with claims.change_rows(account, (person,), _BOUGHT):
        person.state, person.awaits = AssignmentState(person.awaits or person.state), None
        is_invited = person.state == AssignmentState.HELD
        hold = account.rules_of(person.seat_type).hold
        person.expires_at = account.now + hold if is_invited else None
    told = {"member_id": person.member_id, "seat_type": person.seat_type, "state": person.state}
    account.add_notice(Notice(NoticeType.CLAIM_GRANTED, told))


def _has_room(account: LockedAccount, seat_type: str) -> bool:
    """Whether one more can sit beside those who sit there, who waits left aside."""
    balance = account.of(seat_type)
    seated = balance.moved(Counted(held=-balance.waiting, waiting=-balance.waiting))
    rules = account.rules_of(seat_type)
    situation = seated.situation(seat_type, now=account.now, rules=rules)
    return policies.load(rules.policy).decide(situation).granted
