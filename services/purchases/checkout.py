"""Checkout: a page of the provider on which an account buys its seats, and links itself to what it bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from domain.cart import Cart
from domain.counts import cart_seats
from domain.errors import OutcomeUnknown, PurchaseUnlinked, SubscriptionExists, TransientError
from domain.ownership import PROOF_KEY, sign
from domain.purchase.carts import known_product, new_cart
from domain.purchase.plan import Buyer, Checkout
from domain.seat_limit import SeatLimit
from models import account, installation, subscription
from runtime.wiring import Runtime
from services.purchases.prices import prices_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutRequest:
    """What an account wants to buy: so many seats of each type in all, those included among them.

    `is_second`: a further subscription is meant, beside one that the account pays for already.
    """

    product_id: str
    seats: Mapping[str, int]
    buyer: Buyer
    return_url: str | None = None
    is_second: bool = False


@dataclass(frozen=True, slots=True)
class OpenedCheckout:
    """The page, the cart on it, and the seats of each type that the cart gives once it is paid."""

    checkout: Checkout
    cart: Cart
    seats: Mapping[str, SeatLimit]


def open_checkout(runtime: Runtime, account_id: str, purchase: CheckoutRequest) -> OpenedCheckout:
    """Open a page with the cheapest cart that gives the wanted seats, or the fewest above.

    The account's id goes with it as the subscription's metadata, with a proof that this service has put it
    there, so that the first webhook finds the account. Raises `AccountNotFound`, `SubscriptionExists`,
    `ProductNotFound`, `PurchaseUnlinked`, what `new_cart` raises, `ChangeRefused` and `TransientError`;
    doing it twice opens two pages, of which one is paid.
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
            "The catalogue's account_key is empty, so no subscription could tell whose it is. Name the "
            "metadata key under [defaults], such as account_id, and restart.",
            details={"account_id": account_id},
        )
    cart = new_cart(catalog, product.product_id, purchase.seats, prices_of(runtime.provider, product))
    metadata = {catalog.account_key: account_id, PROOF_KEY: sign(secret, account_id)}
    checkout = _page(runtime, cart, purchase, metadata)
    gives = {seat_type: seats.purchased for seat_type, seats in cart_seats(catalog, cart).items()}
    return OpenedCheckout(checkout, cart, gives)


def _refuse_second(session: Session, account_id: str) -> None:
    """A checkout asks for seats in all, and a second subscription would add them to what there is."""
    standing = subscription.standing_of(session, account_id)
    if standing:
        named = ", ".join(f"{one.id} ({one.figures.status or 'not synced yet'})" for one in standing)
        raise SubscriptionExists(
            f"Account {account_id!r} has a subscription already: {named}. Change its seats instead "
            "(POST /v1/accounts/ACCOUNT_ID/seat-changes/preview). If a second subscription is meant, send "
            '"second_subscription": true.',
            details={"subscriptions": [one.id for one in standing]},
        )


def _page(runtime: Runtime, cart: Cart, purchase: CheckoutRequest, metadata: Mapping[str, str]) -> Checkout:
    try:
        return runtime.provider.open_checkout(
            cart, purchase.buyer, metadata=metadata, return_url=purchase.return_url
        )
    except OutcomeUnknown as error:
        raise TransientError(
            "The provider gave no page in time. Try again: a page that nobody was told of is paid by nobody.",
            retry_after=error.retry_after,
        ) from error
