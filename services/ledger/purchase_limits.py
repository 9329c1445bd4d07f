"""Purchase limits: whether seats may be bought automatically for an account, and how many."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from sqlalchemy.orm import Session

from domain.balance import EMPTY, Balance
from domain.cart import Cart
from domain.catalog.model import Catalog
from domain.counts import NO_SEATS, cart_seats
from domain.errors import AddonsUnknown, NoSeatAvailable, PurchaseNeeded, Refused
from domain.findings import Uncountable
from domain.purchase.daily_limit import DailyBudget, SeatTypeLimit, pause_after, reason_not_bought
from domain.seat_limit import Unlimited
from domain.wording import counted
from models import automatic_purchases, purchase_reset
from models.base import Json
from models.seat_change import ChangeState, SeatChange
from models.subscription import Subscription, changeable_of, snapshot_from_json
from services.ledger.entitlements import rules_of
from services.ledger.locked_account import LockedAccount


@dataclass(frozen=True, slots=True)
class AccountView:
    """What purchase limits need of an account: its balances, and the app's override of its rules."""

    account_id: str
    balances: Mapping[str, Balance]
    override: Json | None
    now: datetime

    @classmethod
    def of(cls, account: LockedAccount) -> Self:
        return cls(account.account_id, account.balances, account.override, account.now)


def why_not_bought(
    session: Session, present: AccountView, seat_type: str, catalog: Catalog, *, requested: int = 1
) -> Refused | None:
    """Why seats for `requested` more people cannot be bought automatically; None if they can."""
    active = changeable_of(session, present.account_id, [seat_type])
    if len(active) != 1:
        return PurchaseNeeded(
            f"No {seat_type} seat is available, and none can be bought automatically: the account has "
            f"{counted(len(active), 'subscription')} that could be changed, and exactly one is needed. Buy "
            "the seat by checkout, or with a seat change of one of its subscriptions.",
            details={"seat_type": seat_type, "subscriptions": [one.id for one in active]},
        )
    balance = present.balances.get(seat_type, EMPTY)
    limit = SeatTypeLimit(
        seat_type=seat_type,
        purchased=balance.purchased,
        used=balance.used,
        waiting=balance.waiting,
        maximum=_maximum(active[0], seat_type, balance, catalog),
    )
    budget = daily_budget(session, present, catalog, [seat_type])
    reason = reason_not_bought(limit, budget, requested, present.now)
    if reason is None:
        return None
    return NoSeatAvailable(
        f"{balance.used} of {balance.purchased} {seat_type} seats are used. {reason}",
        details={
            "bought_today": budget.today,
            "auto_expand_limit": budget.per_day,
            "purchases_stopped": budget.is_stopped,
        },
    )


def daily_budget(
    session: Session, present: AccountView, catalog: Catalog, seat_types: Collection[str]
) -> DailyBudget:
    """The seats bought automatically for the account today (UTC), and the limits for more of these types."""
    rules = rules_of(session, present.account_id, present.override, catalog)
    midnight = present.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    bought = automatic_purchases.attempts_since(session, present.account_id, midnight)
    failures = failures_of(session, present.account_id)
    return DailyBudget(
        per_day=min(rules.of(seat_type).auto_expand_limit for seat_type in seat_types),
        today=sum(one.added_seats for one in bought if one.sent_at and one.sent_at >= midnight),
        under_way=sum(one.added_seats for one in bought if one.state == ChangeState.SUBMITTED),
        waiting=sum(balance.waiting for balance in present.balances.values()),
        failures=len(failures),
        paused_until=paused_until(session, present.account_id, failures),
    )


def failures_of(session: Session, account_id: str) -> Sequence[SeatChange]:
    """The account's failed automatic purchases in a row, newest first, since the count was last reset."""
    since = purchase_reset.last_reset(session, account_id)
    return automatic_purchases.consecutive_failures(session, account_id, since)


def paused_until(session: Session, account_id: str, failures: Sequence[SeatChange]) -> datetime | None:
    """Until when no automatic purchase is made after these failures; None if one may be made now.

    A newest purchase whose outcome is unknown, or that did not fail, sets no pause.
    """
    newest = automatic_purchases.newest(session, account_id)
    if not failures or newest is None or not automatic_purchases.blocks_retry(session, newest):
        return None
    return failures[0].moved_at + pause_after(len(failures))


def maximum_of(
    session: Session, account_id: str, seat_type: str, balance: Balance, catalog: Catalog
) -> int | None:
    """The most seats the account can have by a change of its only active subscription.

    None if its product has no maximum, or if there are several subscriptions or none.
    """
    active = changeable_of(session, account_id, [seat_type])
    return _maximum(active[0], seat_type, balance, catalog) if len(active) == 1 else None


def _maximum(subscription: Subscription, seat_type: str, balance: Balance, catalog: Catalog) -> int | None:
    """The most seats the account can have: the product's maximum, plus seats from other sources.

    None if the product has no maximum, or if the seats it gives now are unknown.
    """
    if subscription.snapshot is None or isinstance(balance.purchased, Unlimited):
        return None
    snapshot = snapshot_from_json(subscription.snapshot)
    product = catalog.product(snapshot.product_id)
    most = product.maximum.get(seat_type) if product is not None else None
    if most is None:
        return None
    try:
        own = cart_seats(catalog, Cart.of(snapshot)).get(seat_type, NO_SEATS).purchased
    except (Uncountable, AddonsUnknown):
        return None
    return None if isinstance(own, Unlimited) else balance.purchased - own + most
