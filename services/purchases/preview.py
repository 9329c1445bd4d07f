"""Previews of seat changes: from a wish for so many seats to one plan with its price, and whom it concerns.

Nothing is changed by asking. What is previewed is what the provider has now: it is looked at first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy.orm import Session

from domain.balance import Balance, balances_from_json
from domain.billing_terms import Proration, When
from domain.cart import Cart
from domain.catalog.model import Product
from domain.counts import NO_SEATS, cart_seats
from domain.errors import (
    BelowMinimum,
    CartRefused,
    NoSubscription,
    NothingToChange,
)
from domain.purchase.carts import known_product, with_seats
from domain.purchase.plan import Plan, Preview
from domain.purchase.sentence import sentence
from domain.purchase.steps import (
    SeatStep,
    Steps,
    basis,
    cart_to_json,
    is_increase,
    moves_billing_date,
    plan_to_json,
    renewal_of,
    shown,
)
from domain.seat_limit import SeatLimit, Unlimited
from domain.snapshot import SubscriptionSnapshot
from models import account, seat_change, subscription
from models.seat_change import SeatChange
from models.subscription import Subscription
from runtime.wiring import Runtime
from services.ledger.locked_account import lock_account
from services.purchases.prices import prices_of
from services.purchases.reduction import members_to_release
from services.purchases.refresh import snapshot_of, sync_or_raise


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatRequest:
    """So many purchased seats the account should have of these types, in all.

    `subscription_id` may be left out where the account has one that can be changed. Unset terms are the
    catalogue's. `release` are the members whose seats are given back with the change; `suggested`: those
    who would have to leave, by the usual order. `is_automatic`: not a person asks, but claims that wait; no
    more than `at_most` seats of a type are then bought, if that can be had.
    """

    seats: Mapping[str, int]
    subscription_id: str | None = None
    when: When | None = None
    proration: Proration | None = None
    release: Sequence[str] | Literal["suggested"] = ()
    is_automatic: bool = False
    at_most: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Previewed:
    """A change that can be confirmed with the token, which is shown this once."""

    change: SeatChange
    token: str


def preview(runtime: Runtime, account_id: str, wish: SeatRequest) -> Previewed:
    """What granting the wish would cost and whom it would concern; nothing is changed by asking.

    Raises `AccountNotFound`, a `Refused` that says why the wish cannot be granted, `SeatsInUse` with those
    who would have to leave, and what the provider raises.
    """
    chosen = _choose(runtime, account_id, wish)
    sync_or_raise(runtime, chosen)
    with runtime.sessions() as session:
        snapshot = snapshot_of(session, chosen)
        balances = _balances(session, account_id)
        if session.get_one(Subscription, chosen).account_id != account_id:
            raise NoSubscription(f"The subscription {chosen!r} belongs to another account by now.")
    cart = Cart.of(snapshot)
    wanted = _wanted(runtime, cart, balances, wish.seats)
    at_most = _wanted(runtime, cart, balances, wish.at_most)
    prices = prices_of(runtime.provider, known_product(runtime.catalog, cart.product_id))
    after = with_seats(runtime.catalog, cart, wanted, prices, at_most=at_most)
    steps = _steps(runtime, cart, after, balances)
    if after == cart:
        raise NothingToChange(
            "The account has this many seats already, or no cart with at least as many is cheaper than the "
            "present one.",
            details={"seats": dict(wish.seats)},
        )
    plan = _plan(runtime, snapshot, after, steps, wish)
    told = runtime.provider.preview_change(plan)
    if told.cart_after != plan.cart:
        raise CartRefused(
            "The provider would make another cart of it than the one asked for. Run `seatsync doctor`: it "
            "compares the catalogue with what the provider sells.",
            code="cart_differs",
            provider_code=None,
            retry_helps=False,
        )
    if plan.when is When.NOW and told.charged_now.amount > 0:
        plan = replace(plan, prevent_on_failure=True)  # nobody's account goes on hold by a change of seats
    with runtime.transaction() as session:
        locked = lock_account(session, account_id)
        release = members_to_release(locked, steps, wish.release)
        change = SeatChange(
            account_id=account_id,
            subscription_id=chosen,
            plan=plan_to_json(plan),
            basis=basis(snapshot),
            seats={name: {"before": step.before, "after": step.after} for name, step in steps.items()},
            shown=_shown(runtime.catalog.products[cart.product_id], snapshot, plan, steps, told),
            release=release,
            is_automatic=wish.is_automatic,
        )
        token = seat_change.add_preview(session, change)
    return Previewed(change, token)


def _choose(runtime: Runtime, account_id: str, wish: SeatRequest) -> str:
    """The subscription to change: the one asked for, or the only one that sells what is wanted."""
    with runtime.sessions() as session:
        account.get(session, account_id)
        found = subscription.of_account(session, account_id)
        live = [one.id for one in subscription.changeable_of(session, account_id, wish.seats)]
    asked_for = wish.subscription_id
    if asked_for is not None:
        if asked_for not in {one.id for one in found}:
            raise NoSubscription(
                f"Account {account_id!r} has no subscription {asked_for!r}.",
                details={"subscriptions": [one.id for one in found]},
            )
        return asked_for
    if len(live) != 1:
        wanted = "name the one to change" if live else "buy by checkout first"
        raise NoSubscription(
            f"Account {account_id!r} has {len(live)} active subscriptions: {wanted}.",
            details={"subscriptions": live},
        )
    return live[0]


def _balances(session: Session, account_id: str) -> Mapping[str, Balance]:
    return balances_from_json(account.get(session, account_id).seats)


def _wanted(
    runtime: Runtime, cart: Cart, balances: Mapping[str, Balance], asked: Mapping[str, int]
) -> Mapping[str, int]:
    """What the one subscription has to give for the account to have so many in all."""
    gives = cart_seats(runtime.catalog, cart)
    wanted = {}
    for name, number in asked.items():
        in_all = _finite(name, balances[name].purchased if name in balances else 0)
        own = _finite(name, gives[name].purchased if name in gives else 0)
        if own + number < in_all:
            raise BelowMinimum(
                f"{in_all - own} {name} seats come from contracts or other subscriptions, so this one cannot "
                f"bring the account down to {number}.",
                details={"seat_type": name, "from_elsewhere": in_all - own},
            )
        wanted[name] = own + number - in_all
    return wanted


def _steps(runtime: Runtime, before: Cart, after: Cart, balances: Mapping[str, Balance]) -> Steps:
    """The account's purchased seats of the types that the carts differ in."""
    had, will_have = cart_seats(runtime.catalog, before), cart_seats(runtime.catalog, after)
    steps = {}
    for name in sorted({*had, *will_have}):
        was = had.get(name, NO_SEATS).purchased
        will = will_have.get(name, NO_SEATS).purchased
        if was != will:
            in_all = _finite(name, balances[name].purchased if name in balances else was)
            steps[name] = SeatStep(in_all, in_all + _finite(name, will) - _finite(name, was))
    return steps


def _finite(seat_type: str, limit: SeatLimit) -> int:
    if isinstance(limit, Unlimited):
        raise NothingToChange(
            f"The account has unlimited {seat_type} seats.", details={"seat_type": seat_type}
        )
    return limit


def _plan(
    runtime: Runtime, snapshot: SubscriptionSnapshot, after: Cart, steps: Steps, wish: SeatRequest
) -> Plan:
    rules = runtime.catalog.rules(snapshot.product_id)
    increases = is_increase(steps)
    when = wish.when or (When.NOW if increases else rules.decrease_when)
    return Plan(
        subscription_id=snapshot.subscription_id,
        cart=after,
        when=when,
        proration=wish.proration or rules.proration(when, is_increase=increases),
        prevent_on_failure=increases,
    )


def _shown(
    product: Product, snapshot: SubscriptionSnapshot, plan: Plan, steps: Steps, told: Preview
) -> dict[str, Any]:
    before = Cart.of(snapshot)
    date = told.next_billing_date
    return {
        "cart": {"before": cart_to_json(before), "after": cart_to_json(plan.cart)},
        "charged_now": shown(told.charged_now),
        "tax": shown(told.tax),
        "credit": shown(told.credit),
        "renewal": shown(told.renewal),
        "renewal_before": shown(renewal_of(snapshot)),
        "next_billing_date": date.isoformat() if date is not None else None,
        "billing_date_moves": moves_billing_date(told, snapshot, plan.when),
        "minimum": dict(product.minimum),
        "maximum": dict(product.maximum),
        "sentence": sentence(steps, told, snapshot, plan.when),
    }
