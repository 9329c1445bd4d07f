"""Checkout: open a page of the provider on which the account pays for seats. The subscription that it makes
is linked to the account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from domain.cart import Cart
from domain.counts import cart_seats
from domain.errors import PurchaseUnlinked, SubscriptionExists
from domain.ownership import PROOF_KEY, sign
from domain.provider_errors import OutcomeUnknown, TransientError
from domain.purchase.carts import known_product, new_cart
from domain.purchase.plan import Buyer, Checkout
from domain.seat_limit import SeatLimit
from models import account, installation, subscription
from runtime.wiring import Runtime
from services.purchases.prices import prices_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutRequest:
    """What an account wants to buy. `seats` are totals per seat type, with the included ones.

    `is_second` allows a second subscription for an account that already has one.
    """

    product_id: str
    seats: Mapping[str, int]
    buyer: Buyer
    return_url: str | None = None
    is_second: bool = False


@dataclass(frozen=True, slots=True)
class OpenedCheckout:
    """The page, the cart on it, and the seats per type that the cart gives once it is paid."""

    checkout: Checkout
    cart: Cart
    seats: Mapping[str, SeatLimit]


def open_checkout(runtime: Runtime, account_id: str, purchase: CheckoutRequest) -> OpenedCheckout:
    """Open a page with the cheapest cart that gives the requested seats, or as few more as can be bought.

    The subscription's metadata will hold the account's id and a signature of this service, so that the first
    webhook finds the account. Raises `AccountNotFound`, `SubscriptionExists`, `ProductNotFound`,
    `PurchaseUnlinked`, what `new_cart` raises, `ChangeRefused` and `TransientError`. Safe to repeat: a page
    that nobody pays on has no effect.
    """
    catalog = runtime.catalog
    product = known_product(catalog, purchase.product_id)
    with runtime.sessions.begin() as session:
        account.get(session, account_id)
        if not purchase.is_second:
            _refuse_second(session, account_id)
        secret = installation.checkout_secret(session)
    if catalog.account_key is None:
        raise PurchaseUnlinked(
            "The catalogue's account_key is empty, so the subscription could not be linked to the account. "
            "Set the metadata key under [defaults], for example account_id, and restart.",
            details={"account_id": account_id},
        )
    cart = new_cart(catalog, product.product_id, purchase.seats, prices_of(runtime.provider, product))
    metadata = {catalog.account_key: account_id, PROOF_KEY: sign(secret, account_id)}
    checkout = _open_page(runtime, cart, purchase, metadata)
    seats = {seat_type: counts.purchased for seat_type, counts in cart_seats(catalog, cart).items()}
    return OpenedCheckout(checkout, cart, seats)


def _refuse_second(session: Session, account_id: str) -> None:
    """The requested seats are totals, but a second subscription would add them to the seats of the first."""
    existing = subscription.running_subscriptions_of(session, account_id)
    if existing:
        named = ", ".join(f"{one.id} ({one.figures.status or 'not synced yet'})" for one in existing)
        raise SubscriptionExists(
            f"Account {account_id!r} already has a subscription: {named}. Change its seats instead "
            "(POST /v1/accounts/ACCOUNT_ID/seat-changes/preview). If a second subscription is meant, send "
            '"second_subscription": true.',
            details={"subscriptions": [one.id for one in existing]},
        )


def _open_page(
    runtime: Runtime, cart: Cart, purchase: CheckoutRequest, metadata: Mapping[str, str]
) -> Checkout:
    try:
        return runtime.provider.open_checkout(
            cart, purchase.buyer, metadata=metadata, return_url=purchase.return_url
        )
    except OutcomeUnknown as error:
        raise TransientError(
            "The provider opened no checkout page in time. Try again; a page that was opened meanwhile has "
            "no effect.",
            retry_after=error.retry_after,
        ) from error
