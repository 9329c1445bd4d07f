"""Preview a seat change: find the cheapest cart with the requested seats, and ask the provider for its price.

The subscription is synced first. A preview changes nothing at the provider; its token can be confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlalchemy.orm import Session

from domain.balance import Balance, balances_from_json
from domain.billing_terms import Proration, When
from domain.cart import Cart
from domain.catalog.model import Catalog
from domain.counts import cart_seats
from domain.errors import NoSubscription, NothingToChange, SeatsInUse
from domain.provider_errors import CartRefused
from domain.purchase import choice
from domain.purchase.carts import known_product
from domain.purchase.choice import Choice
from domain.purchase.plan import Plan, Preview
from domain.purchase.steps import basis, costs_more, is_increase, plan_to_json
from domain.snapshot import SubscriptionSnapshot
from models import account, seat_change, subscription
from models.seat_change import SeatChange
from models.subscription import Subscription
from runtime.wiring import Runtime
from services.ledger.locked_account import LockedAccount, lock_account
from services.purchases.preview_fields import shown_fields
from services.purchases.prices import offer_of, prices_of, refuse_if_not_for_sale
from services.purchases.reduction import members_to_release
from services.purchases.refresh import snapshot_of, sync_or_raise


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatRequest:
    """The total of purchased seats that the account should have, per seat type.

    `subscription_id` may be left out if exactly one subscription of the account can be changed. `when` and
    `proration` default to the catalogue's. `release` are the members to release with the change, or
    `suggested` for those who would have to leave. `product_id` is the product to change to; seat types not in
    `seats` then keep their number. `is_automatic`: requested by pending claims, not by a
    person. `at_most`: totals per type not to exceed, if a cart allows that.
    """

    seats: Mapping[str, int]
    product_id: str | None = None
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
    subscription_id = choose_subscription(runtime, account_id, request)
    sync_or_raise(runtime, subscription_id)
    with runtime.sessions() as session:
        snapshot = snapshot_of(session, subscription_id)
        balances = _balances(session, account_id)
        if session.get_one(Subscription, subscription_id).account_id != account_id:
            raise NoSubscription(f"The subscription {subscription_id!r} belongs to another account now.")
    chosen = _choose_cart(runtime, snapshot, balances, request)
    plan = _plan(runtime, snapshot, chosen, request)
    priced = _ask_for_price(runtime, plan)
    is_charged_now = plan.when is When.NOW and priced.charged_now.amount > 0
    if is_charged_now or (chosen.is_other_product and costs_more(priced, snapshot)):
        # A failed payment must not put the subscription on hold.
        plan = replace(plan, prevent_on_failure=True)
    with runtime.transaction() as session:
        locked = lock_account(session, account_id)
        change = SeatChange(
            account_id=account_id,
            subscription_id=subscription_id,
            plan=plan_to_json(plan),
            basis=basis(snapshot),
            seats={name: step.to_json() for name, step in chosen.steps.items()},
            shown=shown_fields(runtime.catalog, snapshot, plan, chosen, priced),
            release=_members_to_release(runtime.catalog, locked, chosen, request),
            is_automatic=request.is_automatic,
        )
        token = seat_change.add_preview(session, change)
    return Previewed(change, token)


def choose_subscription(runtime: Runtime, account_id: str, request: SeatRequest) -> str:
    """The requested subscription, or the only active one that sells the requested seat types. With another
    product, these are its seat types, and the only active subscription is meant.
    """
    seat_types = request.seats if request.product_id is None else ()
    with runtime.sessions() as session:
        account.get(session, account_id)
        all_ids = [one.id for one in subscription.of_account(session, account_id)]
        changeable = [one.id for one in subscription.changeable_of(session, account_id, seat_types)]
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


def _choose_cart(
    runtime: Runtime, snapshot: SubscriptionSnapshot, balances: Mapping[str, Balance], request: SeatRequest
) -> Choice:
    """The cheapest cart that gives what is requested. Raises `NothingToChange` if it is the present one."""
    cart, product_id = Cart.of(snapshot), request.product_id
    if product_id is not None and product_id != cart.product_id:
        return _choose_on_other_product(runtime, cart, product_id, balances, request)
    prices = prices_of(runtime.provider, known_product(runtime.catalog, cart.product_id))
    chosen = choice.same_product(
        runtime.catalog, cart, balances, request.seats, prices, at_most=request.at_most
    )
    if chosen.after == cart:
        raise NothingToChange(
            "The account already has this many seats, or no purchasable combination gets closer to the "
            "requested number."
            if request.seats
            else "The subscription has this product already.",
            details={"seats": dict(request.seats)},
        )
    return chosen


def _choose_on_other_product(
    runtime: Runtime, cart: Cart, product_id: str, balances: Mapping[str, Balance], request: SeatRequest
) -> Choice:
    product = known_product(runtime.catalog, product_id)
    cart_seats(runtime.catalog, cart)  # before any request to the provider: the present cart must be known
    offer = offer_of(runtime.provider, product)
    refuse_if_not_for_sale(product, offer, runtime.provider.product(cart.product_id))
    return choice.other_product(
        runtime.catalog,
        cart,
        product_id,
        balances,
        request.seats,
        prices=offer.prices,
        sold=offer.addons,
    )


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


def _plan(runtime: Runtime, snapshot: SubscriptionSnapshot, chosen: Choice, request: SeatRequest) -> Plan:
    """Increases apply now, by default, and another product does if it takes no seats of any type away. Others
    apply as the catalogue says of the present product.
    """
    rules, increases = runtime.catalog.rules(snapshot.product_id), is_increase(chosen.steps)
    takes_seats = any(step.is_less for step in chosen.steps.values())
    is_gain = increases or (chosen.is_other_product and not takes_seats)
    is_urgent = not takes_seats if chosen.is_other_product else increases
    when = request.when or (When.NOW if is_urgent else rules.decrease_when)
    return Plan(
        subscription_id=snapshot.subscription_id,
        cart=chosen.after,
        when=when,
        proration=request.proration or rules.proration(when, is_increase=is_gain),
        prevent_on_failure=increases,
    )


def _members_to_release(
    catalog: Catalog, locked: LockedAccount, chosen: Choice, request: SeatRequest
) -> list[str]:
    """The members to release. A refusal says which seat types the new product does not sell."""
    try:
        return members_to_release(locked, chosen.steps, request.release)
    except SeatsInUse as error:
        if chosen.lost_seat_types:
            name = catalog.products[chosen.after.product_id].name
            error.message = f"{name} has no {' or '.join(chosen.lost_seat_types)} seats. {error.message}"
            error.details = {**error.details, "lost_seat_types": list(chosen.lost_seat_types)}
        raise
