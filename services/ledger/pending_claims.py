"""Pending claims: seats that are held until they have been bought.

held, awaiting a purchase -> active, or an invitation   when a sync shows the bought seat
                          -> released                   when it is not bought; a notice says why
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

# Longer than a payment can stay open.
_LASTS: Final = timedelta(days=5)
SOURCE: Final = "purchase"
"""The source in audit rows about the outcome of a pending claim."""

_BOUGHT: Final = Cause(actor="system:auto_expand", source=SOURCE, reason="the seat has been bought")


def claim(
    session: Session, account_id: str, request: ClaimRequest, catalog: Catalog, cause: Cause
) -> ClaimOutcome:
    """Lock the account and claim a seat in it, see `claim_or_buy`. Raises `AccountNotFound` too."""
    with changing(session, account_id) as account:
        return claim_or_buy(account, request, catalog, cause)


def claim_or_buy(
    account: LockedAccount, request: ClaimRequest, catalog: Catalog, cause: Cause
) -> ClaimOutcome:
    """Give the person a seat. If none is available and the policy is auto_expand, hold one and request its
    purchase.

    Raises what `claims.claim_locked` raises: `PurchaseNeeded` if no seat can be bought automatically, for
    example for a member who moves from another seat type, and `NoSeatAvailable` if a limit forbids it.
    """
    session, account_id = account.session, account.account_id
    try:
        return claims.claim_locked(account, request, catalog, cause)
    except PurchaseNeeded:
        if persons.find(session, account_id, request.member_id, request.email) is not None:
            raise  # a member who changes to another seat type: no seat is bought for that
        seat_type = catalog.seat_type(request.role)
        assert seat_type is not None  # free roles are never refused
    refused = purchase_limits.why_not_bought(session, AccountView.of(account), seat_type, catalog)
    if refused is not None:
        refused.details = {**claims.figures(seat_type, account.balance_of(seat_type)), **refused.details}
        raise refused
    purchase_queue.enqueue(session, account_id)
    return claims.hold_until_bought(account, request, seat_type, cause, max_hold=_LASTS)


def wanted_seats(account: LockedAccount) -> Mapping[str, int]:
    """Seat totals to buy, per type: enough for every pending claim. Types that were over their limit before
    are left out.
    """
    return {
        seat_type: balance.used
        for seat_type, balance in account.balances.items()
        if 0 < balance.overage <= balance.waiting
    }


def resolve(account: LockedAccount) -> None:
    """Grant the pending claims for which there is a seat now, the oldest first. Refuse those for which no
    seat will be bought any more.
    """
    queue = assignment.awaiting_purchase(account.session, account.account_id)
    if account.status not in claims.REFUSING:
        for person in queue:
            _grant_if_possible(account, person)
    being_bought = _being_bought(account, queue)
    for person in queue:
        if person.awaits is not None and (reason := _why_refused(account, person, being_bought)) is not None:
            refuse(account, [person], reason)


def _is_late(account: LockedAccount, person: Assignment) -> bool:
    return person.expires_at is None or person.expires_at <= account.now


def _being_bought(account: LockedAccount, queue: Sequence[Assignment]) -> Collection[int]:
    """The ids of late claims that a running purchase is for: they stay pending until its outcome is known."""
    if not any(_is_late(account, person) for person in queue):
        return ()
    newest = automatic_purchases.newest(account.session, account.account_id)
    return newest.buys_for if newest is not None and newest.state == ChangeState.SUBMITTED else ()


def _why_refused(account: LockedAccount, person: Assignment, being_bought: Collection[int]) -> str | None:
    """Why no seat will be bought for this pending claim; None if it stays pending."""
    if (refused := claims.REFUSING.get(account.status)) is not None:
        return refused
    if _is_late(account, person) and person.id not in being_bought:
        return "No seat could be bought in time."
    seat_type = str(person.seat_type)
    if not policies.load(account.rules_of(seat_type).policy).BUYS:
        return "The account's policy no longer buys seats automatically."
    balance = account.balance_of(seat_type)
    if balance.is_over:
        return over_limit_message(seat_type, balance.used - balance.waiting, balance.purchased)
    return None


def refuse(account: LockedAccount, people: Sequence[Assignment], reason: str) -> None:
    """Refuse these pending claims: release their held seats, and notify the app of the reason."""
    cause = Cause(actor="system:auto_expand", source=SOURCE, reason=reason)
    for person in people:
        facts = {"member_id": person.member_id, "seat_type": person.seat_type, "reason": reason}
        claims.release_seat(account, person, cause)
        account.add_notice(Notice(NoticeType.CLAIM_REFUSED, facts))


def _grant_if_possible(account: LockedAccount, person: Assignment) -> None:
    """Grant the pending claim if the account's policy would grant a new claim now."""
    if person.seat_type is not None and not _grants_another(account, person.seat_type):
        return
    with claims.change_rows(account, (person,), _BOUGHT):
        person.state, person.awaits = AssignmentState(person.awaits or person.state), None
        is_invited = person.state == AssignmentState.HELD
        hold = account.rules_of(person.seat_type).hold
        person.expires_at = account.now + hold if is_invited else None
    facts = {"member_id": person.member_id, "seat_type": person.seat_type, "state": person.state}
    account.add_notice(Notice(NoticeType.CLAIM_GRANTED, facts))


def _grants_another(account: LockedAccount, seat_type: str) -> bool:
    """True if the policy grants one more claim of the type, not counting the seats of pending claims."""
    balance = account.balance_of(seat_type)
    without_pending = balance.moved(Counted(held=-balance.waiting, waiting=-balance.waiting))
    rules = account.rules_of(seat_type)
    situation = without_pending.situation(seat_type, now=account.now, rules=rules)
    return policies.load(rules.policy).decide(situation).granted
