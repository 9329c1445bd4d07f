"""What an account still has once one of its subscriptions has ended, and what happens to its members then.

Computed with the code that evaluates accounts, without locks and without changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from domain import policies, reduction
from domain.balance import EMPTY, Balance
from domain.catalog.model import Catalog
from domain.counts import Seats, SubscriptionShare, account_seats
from domain.purchase.ending import TypeAfter
from domain.reduction import Leaver
from domain.seat_limit import to_json
from domain.statuses import Phase, SubscriptionStanding
from models.account import AccountStatus
from models.subscription import Subscription, of_account
from services.ledger import locked_account, seat_holders
from services.ledger.account_state import AccountState
from services.ledger.entitlements import rules_of_shares, share_of

_MOST_NAMED: Final = 100
_Shares = Sequence[tuple[Subscription, SubscriptionShare]]
_NO_CLAIMS: Final = (AccountStatus.ENDED, AccountStatus.SUSPENDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterEnding:
    """The account after the end. `status` is its status then, `remaining` the sources of the seats that it
    still has, and `leavers` the first 100 members over a limit, in the order in which they would leave.
    """

    status: AccountStatus
    types: Mapping[str, TypeAfter]
    remaining: Sequence[Mapping[str, Any]]
    leavers: Sequence[Leaver]

    @property
    def total_over(self) -> int:
        """How many members are over a limit then, all seat types together."""
        return sum(one.over for one in self.types.values())


def account_after(
    session: Session, account_id: str, subscription_id: str, at: datetime, catalog: Catalog
) -> AfterEnding:
    """The account once the subscription has ended at `at`, if nothing else changes until then.

    Raises `AccountNotFound`. Figures and members should be read in one snapshot of the database.
    """
    before = locked_account.read(session, account_id)
    shares = [(one, _share(one, subscription_id, catalog, at)) for one in of_account(session, account_id)]
    after = _evaluated(session, account_id, shares, at, catalog)
    types = {
        name: _type_after(name, before.balance_of(name), after, at)
        for name in sorted({*before.balances, *after.balances})
    }
    limits = {name: one.after for name, one in types.items() if one.over}
    holders = seat_holders.on_types(session, account_id, list(limits))
    leavers = reduction.leavers(holders, limits, at_most=_MOST_NAMED)
    return AfterEnding(
        status=after.status,
        types=types,
        remaining=_remaining(account_id, shares, at, catalog),
        leavers=[one for name in sorted(leavers) for one in leavers[name]][:_MOST_NAMED],
    )


def _share(subscription: Subscription, ending_id: str, catalog: Catalog, at: datetime) -> SubscriptionShare:
    share = share_of(subscription, catalog, at)
    is_ending = subscription.id == ending_id
    return SubscriptionShare(share.seats, SubscriptionStanding(Phase.ENDED)) if is_ending else share


def _evaluated(
    session: Session,
    account_id: str,
    shares: _Shares,
    at: datetime,
    catalog: Catalog,
) -> AccountState:
    """The account as an evaluation at `at` would leave it."""
    account = locked_account.read(session, account_id)
    account.now = at
    evaluated = account_seats(catalog, account_id, [share for _, share in shares], now=at)
    rules = rules_of_shares(shares, evaluated, account.override, catalog)
    account.apply_entitlements(evaluated, rules, catalog.digest)
    account.compute_status()
    return account


def _type_after(name: str, before: Balance, after: AccountState, at: datetime) -> TypeAfter:
    balance = after.balance_of(name)
    return TypeAfter(
        before=before.purchased,
        after=balance.purchased,
        used=balance.used,
        over=balance.overage,
        claims_refused_from=_claims_refused_from(name, balance, after, at),
        suspended_at=balance.clock.suspends_at if balance.overage else None,
    )


def _claims_refused_from(name: str, balance: Balance, after: AccountState, at: datetime) -> datetime | None:
    if after.status in _NO_CLAIMS:
        return at
    rules = after.rules_of(name)
    policy = policies.load(rules.policy)
    if not policy.decide(balance.situation(name, now=at, rules=rules)).granted:
        return at
    return balance.deadline if balance.overage else None


def _remaining(
    account_id: str,
    shares: _Shares,
    at: datetime,
    catalog: Catalog,
) -> Sequence[Mapping[str, Any]]:
    """The subscriptions and contracts that give seats then; the free seats if there are none."""
    counting = [(one, _numbers(share.seats)) for one, share in shares if share.standing.counts]
    found: list[Mapping[str, Any]] = [
        {"subscription_id": one.id, "seats": seats} for one, seats in counting if seats
    ]
    found += [
        {"contract": one.name, "seats": {name: to_json(limit) for name, limit in one.seats.items()}}
        for one in catalog.contracts_of(account_id)
        if one.is_in_term(at)
    ]
    if not found and not counting and catalog.free is not None:
        free = {name: to_json(limit) for name, limit in catalog.free.items()}
        return [{"free": True, "seats": free}]
    return found


def _numbers(seats: Mapping[str, Seats]) -> Mapping[str, int | str]:
    return {name: to_json(one.purchased) for name, one in seats.items() if one != EMPTY.seats}
