"""Check whether more people with a role may be added: the decision a claim would get, without a lock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from domain import policies
from domain.balance import EMPTY, Balance, balances_from_json
from domain.catalog.model import Catalog
from domain.errors import ClaimsBlocked
from domain.policies import Decision, Situation, seat_words
from models import account as account_rows
from models import assignment
from models.account import Account, AccountStatus
from services.ledger import purchase_limits
from services.ledger.claims import REFUSING
from services.ledger.purchase_limits import AccountView

_FREE = Decision(granted=True, code="free_role", message="The role takes no seat.")


@dataclass(frozen=True, slots=True)
class CanAddResult:
    """The decision, the role's seat type (None for a free role), and the balance it is based on."""

    decision: Decision
    seat_type: str | None
    balance: Balance


def may_add(session: Session, account_id: str, role: str, count: int, catalog: Catalog) -> CanAddResult:
    """Whether `count` claims of the role would be granted now. Takes no lock and reserves nothing.

    Raises `AccountNotFound` and `UnknownRole`.
    """
    seat_type = catalog.seat_type(role)
    found = account_rows.get(session, account_id)
    if seat_type is None:
        return CanAddResult(_FREE, None, EMPTY)
    balance = _balance_after_lapses(session, found, seat_type)
    blocked = REFUSING.get(AccountStatus(found.status))
    if blocked is not None:
        refused = Decision(granted=False, code=ClaimsBlocked.code, message=blocked)
        return CanAddResult(refused, seat_type, balance)
    rules = found.rules_of(seat_type)
    situation = balance.situation(seat_type, now=account_rows.now(session), rules=rules, requested=count)
    policy = policies.load(rules.policy)
    decision = policy.decide(situation)
    if not decision.granted and policy.BUYS:
        decision = _decide_purchase(session, found, situation, decision, catalog)
    elif not decision.granted:
        maximum = purchase_limits.maximum_of(session, found.id, seat_type, balance, catalog)
        decision = _without_impossible_advice(decision, situation, maximum)
    return CanAddResult(decision, seat_type, balance)


def _decide_purchase(
    session: Session, found: Account, situation: Situation, decision: Decision, catalog: Catalog
) -> Decision:
    """The decision if the missing seats can be bought automatically, or why they cannot."""
    balances = {name: _balance_after_lapses(session, found, name) for name in found.seats}
    present = AccountView(found.id, balances, found.override, situation.now)
    seat_type, requested = situation.seat_type, situation.requested
    refused = purchase_limits.why_not_bought(session, present, seat_type, catalog, requested=requested)
    if refused is not None:
        return Decision(granted=False, code=refused.code, message=refused.message)
    message = f"{seat_words(decision.to_buy, seat_type)} would be bought first."
    return Decision(granted=True, code="granted_by_purchase", message=message, to_buy=decision.to_buy)


def _without_impossible_advice(decision: Decision, situation: Situation, maximum: int | None) -> Decision:
    """The refusal; if the product is not sold with so many seats, without the advice to buy them."""
    if maximum is None or situation.used + situation.requested <= maximum:
        return decision
    message = (
        f"{seat_words(situation.requested, situation.seat_type)} requested: {situation.used} of "
        f"{situation.purchased} are used, and with its product the account can have at most {maximum}. "
        "Release members or change the plan."
    )
    return replace(decision, message=message)


def _balance_after_lapses(session: Session, found: Account, seat_type: str) -> Balance:
    """The balance as a claim would find it: without the held seats of lapsed invitations."""
    balance = balances_from_json(found.seats).get(seat_type, EMPTY)
    lapsing = sum(one.seat_type == seat_type for one in assignment.lapsed_invitations(session, found.id))
    return replace(balance, held=balance.held - lapsing)
