"""Preview a seat change: find the cheapest cart with the requested seats, and ask the provider for its price.

The subscription is synced first. A preview changes nothing at the provider; its token can be confirmed.
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
from domain.errors import BelowMinimum, NoSubscription, NothingToChange
from domain.provider_errors import CartRefused
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
    """The total of purchased seats that the account should have, per seat type.

    `subscription_id` may be left out if exactly one subscription of the account can be changed. `when` and
    `proration` default to the catalogue's. `release` are the members to release with the change, or
    `suggested` for those who would have to leave. `is_automatic`: requested by pending claims, not by a
    person. `at_most`: totals per type not to exceed, if a cart allows that.
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
    """A stored change, and the token that confirms it. Only a hash of the token is stored."""

    change: SeatChange
    token: str


def preview(runtime: Runtime, account_id: str, request: SeatRequest) -> Previewed:
    """Preview the change and store it, ready to be confirmed.

    Raises `AccountNotFound`; a `Refused` that says why the request cannot be met; `SeatsInUse` with the
    members who would have to leave; and the provider's errors.
    """
    subscription_id = _choose_subscription(runtime, account_id, request)
    sync_or_raise(runtime, subscription_id)
    with runtime.sessions() as session:
        snapshot = snapshot_of(session, subscription_id)
        balances = _balances(session, account_id)
        if session.get_one(Subscription, subscription_id).account_id != account_id:
            raise NoSubscription(f"The subscription {subscription_id!r} belongs to another account now.")
    after = _cart_after(runtime, Cart.of(snapshot), balances, request)
    steps = _steps(runtime, Cart.of(snapshot), after, balances)
    plan = _plan(runtime, snapshot, after, steps, request)
    priced = _ask_for_price(runtime, plan)
    if plan.when is When.NOW and priced.charged_now.amount > 0:
        # A failed payment must not put the subscription on hold.
        plan = replace(plan, prevent_on_failure=True)
    product = runtime.catalog.products[snapshot.product_id]
    with runtime.transaction() as session:
        locked = lock_account(session, account_id)
        change = SeatChange(
            account_id=account_id,
            subscription_id=subscription_id,
            plan=plan_to_json(plan),
            basis=basis(snapshot),
            seats={name: {"before": step.before, "after": step.after} for name, step in steps.items()},
            shown=_shown(product, snapshot, plan, steps, priced),
            release=members_to_release(locked, steps, request.release),
            is_automatic=request.is_automatic,
        )
        token = seat_change.add_preview(session, change)
    return Previewed(change, token)


def _choose_subscription(runtime: Runtime, account_id: str, request: SeatRequest) -> str:
    """The requested subscription, or the only active one that sells the requested seat types."""
    with runtime.sessions() as session:
        account.get(session, account_id)
        all_ids = [one.id for one in subscription.of_account(session, account_id)]
        changeable = [one.id for one in subscription.changeable_of(session, account_id, request.seats)]
    if request.subscription_id is not None:
        if request.subscription_id not in all_ids:
            raise NoSubscription(
                f"Account {account_id!r} has no subscription {request.subscription_id!r}.",
                details={"subscriptions": all_ids},
            )
        return request.subscription_id
    if len(changeable) != 1:
        next_step = "name the one to change" if changeable else "buy by checkout first"
        raise NoSubscription(
            f"Account {account_id!r} has {len(changeable)} active subscriptions: {next_step}.",
            details={"subscriptions": changeable},
        )
    return changeable[0]


def _cart_after(runtime: Runtime, cart: Cart, balances: Mapping[str, Balance], request: SeatRequest) -> Cart:
    """The cheapest cart that gives the requested seats. Raises `NothingToChange` if it is the present one."""
    seats = _seats_of_subscription(runtime, cart, balances, request.seats)
    at_most = _seats_of_subscription(runtime, cart, balances, request.at_most)
    prices = prices_of(runtime.provider, known_product(runtime.catalog, cart.product_id))
    after = with_seats(runtime.catalog, cart, seats, prices, at_most=at_most)
    if after == cart:
        raise NothingToChange(
            "The account already has this many seats, or no purchasable combination gets closer to the "
            "requested number.",
            details={"seats": dict(request.seats)},
        )
    return after


def _ask_for_price(runtime: Runtime, plan: Plan) -> Preview:
    """The provider's preview of the plan. Raises `CartRefused` if its cart is not the requested one."""
    priced = runtime.provider.preview_change(plan)
    if priced.cart_after != plan.cart:
        raise CartRefused(
            "The provider would apply a different cart than the one requested. Run `seatsync doctor`: it "
            "compares the catalogue with what the provider sells.",
            code="cart_differs",
            provider_code=None,
            retry_helps=False,
        )
    return priced


def _balances(session: Session, account_id: str) -> Mapping[str, Balance]:
    return balances_from_json(account.get(session, account_id).seats)


def _seats_of_subscription(
    runtime: Runtime, cart: Cart, balances: Mapping[str, Balance], totals: Mapping[str, int]
) -> Mapping[str, int]:
    """The seats that this subscription must give for the account to have these totals."""
    in_cart = cart_seats(runtime.catalog, cart)
    seats = {}
    for name, total in totals.items():
        total_now = _finite(name, balances[name].purchased if name in balances else 0)
        own = _finite(name, in_cart[name].purchased if name in in_cart else 0)
        from_elsewhere = total_now - own
        if total < from_elsewhere:
            raise BelowMinimum(
                f"{from_elsewhere} {name} seats come from contracts or other subscriptions, so a change of "
                f"this subscription cannot bring the account down to {total}.",
                details={"seat_type": name, "from_elsewhere": from_elsewhere},
            )
        seats[name] = total - from_elsewhere
    return seats


def _steps(runtime: Runtime, before: Cart, after: Cart, balances: Mapping[str, Balance]) -> Steps:
    """The account's purchased seats before and after, of the types in which the carts differ."""
    seats_before, seats_after = cart_seats(runtime.catalog, before), cart_seats(runtime.catalog, after)
    steps = {}
    for name in sorted({*seats_before, *seats_after}):
        old = seats_before.get(name, NO_SEATS).purchased
        new = seats_after.get(name, NO_SEATS).purchased
        if old != new:
            total = _finite(name, balances[name].purchased if name in balances else old)
            steps[name] = SeatStep(total, total + _finite(name, new) - _finite(name, old))
    return steps


def _finite(seat_type: str, limit: SeatLimit) -> int:
    if isinstance(limit, Unlimited):
        raise NothingToChange(
            f"The account has unlimited {seat_type} seats.", details={"seat_type": seat_type}
        )
    return limit


def _plan(
    runtime: Runtime, snapshot: SubscriptionSnapshot, after: Cart, steps: Steps, request: SeatRequest
) -> Plan:
    rules = runtime.catalog.rules(snapshot.product_id)
    increases = is_increase(steps)
    when = request.when or (When.NOW if increases else rules.decrease_when)
    return Plan(
        subscription_id=snapshot.subscription_id,
        cart=after,
        when=when,
        proration=request.proration or rules.proration(when, is_increase=increases),
        prevent_on_failure=increases,
    )


def _shown(
    product: Product, snapshot: SubscriptionSnapshot, plan: Plan, steps: Steps, priced: Preview
) -> dict[str, Any]:
    """What the caller is shown before it confirms."""
    before = Cart.of(snapshot)
    date = priced.next_billing_date
    return {
        "cart": {"before": cart_to_json(before), "after": cart_to_json(plan.cart)},
        "charged_now": shown(priced.charged_now),
        "tax": shown(priced.tax),
        "credit": shown(priced.credit),
        "renewal": shown(priced.renewal),
        "renewal_before": shown(renewal_of(snapshot)),
        "next_billing_date": date.isoformat() if date is not None else None,
        "billing_date_moves": moves_billing_date(priced, snapshot, plan.when),
        "minimum": dict(product.minimum),
        "maximum": dict(product.maximum),
        "sentence": sentence(steps, priced, snapshot, plan.when),
    }
