"""Price lists: estimate what seats cost, from the provider's list prices, which are cached.

An estimate binds nobody and costs no request to the provider while the cached list is fresh. It knows neither
discounts nor taxes of a customer, and no proration: the preview of a seat change states those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import orjson
from pydantic import TypeAdapter, ValidationError

from domain.balance import balances_from_json
from domain.cart import Cart
from domain.catalog.model import Catalog, Product
from domain.counts import NO_SEATS, cart_seats
from domain.errors import ProductNotSold
from domain.provider_errors import ChangeRefused, TransientError
from domain.purchase import choice
from domain.purchase.carts import known_product, new_cart
from domain.purchase.money import Money
from domain.purchase.plan import LineKind
from domain.purchase.sentence import every
from domain.purchase.steps import SeatStep
from domain.seat_limit import SeatLimit
from domain.snapshot import SubscriptionStatus
from domain.times import moment_words
from models import account
from models.subscription import Subscription
from runtime.wiring import Runtime
from services.purchases.preview import SeatRequest, choose_subscription
from services.purchases.prices import Offer, offer_of, refuse_if_not_for_sale
from services.purchases.refresh import snapshot_of

FRESH_FOR: Final = timedelta(minutes=10)
"""After this time a cached price list is read anew; it is used for longer only if the provider is away."""

_NO_READ_AFTER_FAILURE: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """What the provider sold a product for at `read_at`, and the `age` of that."""

    offer: Offer
    read_at: datetime
    age: timedelta

    @property
    def currency(self) -> str | None:
        return self.offer.product.currency

    @property
    def terms(self) -> tuple[str | None, str | None, int | None]:
        """The currency and the billing period: only prices on the same terms can be compared."""
        product = self.offer.product
        return product.currency, product.billing_interval, product.billing_count

    def money(self, amount: int | None) -> Money | None:
        """The amount in the product's currency; None if either is unknown."""
        return None if amount is None or self.currency is None else Money(amount, self.currency)

    def price_of(self, cart: Cart) -> Money | None:
        """The price of the cart per billing period; None if the price of anything in it is unknown."""
        prices = self.offer.prices
        items = [(cart.product_id, cart.quantity), *((one.addon_id, one.quantity) for one in cart.addons)]
        if any(item_id not in prices for item_id, _ in items):
            return None
        return self.money(sum(prices[item_id] * quantity for item_id, quantity in items))


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLine:
    """One item of an estimated cart, with the seats that it gives."""

    kind: LineKind
    item_id: str
    name: str | None
    quantity: int
    unit_price: Money | None
    amount: Money | None
    seats: Mapping[str, SeatLimit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The list price of a cart per billing period, beside that of the present cart, if there is one.

    `seats` are those of the subscription's cart by type, before and after; without a present cart, there are
    none before. `verified_at` is when the present cart was last read from the provider.
    """

    product: Product
    prices: PriceList
    cart: Cart
    present: Cart | None
    seats: Mapping[str, SeatStep]
    lines: tuple[PriceLine, ...]
    price: Money | None
    present_price: Money | None
    present_prices: PriceList | None = None
    subscription_id: str | None = None
    verified_at: datetime | None = None

    @property
    def difference(self) -> Money | None:
        """How much more than now; None if either price is unknown, or is for another period or currency."""
        if self.price is None or self.present_price is None or self.present_prices is None:
            return None
        if self.prices.terms != self.present_prices.terms:
            return None
        return Money(self.price.amount - self.present_price.amount, self.price.currency)

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        seats = " and ".join(
            f"{step.after} {name} seat{'' if step.after == 1 else 's'}" for name, step in self.seats.items()
        )
        terms = self.prices.offer.product
        if self.price is None:
            says = f"The price of {seats or self.product.name} is not known"
        else:
            often = every(terms.billing_interval, terms.billing_count)
            tax = {True: " with tax", False: " before tax", None: ""}[terms.tax_inclusive]
            says = f"{seats or self.product.name} in {self.product.name}: {self.price} {often}{tax}"
        difference = self.difference
        if difference is not None and difference.amount:
            word = "more" if difference.amount > 0 else "less"
            says += f", {Money(abs(difference.amount), difference.currency)} {word} than now"
        return f"{says}. Estimated from list prices of {moment_words(self.prices.read_at)}."


def estimate_for_account(runtime: Runtime, account_id: str, request: SeatRequest) -> Estimate:
    """Estimate the price of a seat change, from the subscription as last synced.

    `seats`, `subscription_id` and `product_id` of the request count. Raises what `preview` raises about the
    account, the subscription, the product and the seats; `ChangeRefused` if the subscription is not active;
    `PermanentError`; `TransientError` if the provider
    cannot be reached and no price list is cached.
    """
    subscription_id = choose_subscription(runtime, account_id, request)
    with runtime.sessions() as session:
        now = account.now(session)
        snapshot = snapshot_of(session, subscription_id)
        verified_at = session.get_one(Subscription, subscription_id).verified_at
        balances = balances_from_json(account.get(session, account_id).seats)
    if snapshot.status != SubscriptionStatus.ACTIVE:
        raise ChangeRefused(
            f"The subscription is {snapshot.status}, and only active subscriptions can be changed. If it has "
            "ended, buy a new one by checkout.",
            code="subscription_not_active",
            provider_code=None,
            retry_helps=False,
        )
    cart = Cart.of(snapshot)
    cart_seats(runtime.catalog, cart)  # raises if the present cart cannot be counted
    product = known_product(runtime.catalog, request.product_id or cart.product_id)
    prices = _price_list(runtime, product, now)
    present_prices: PriceList | None = prices
    if product.product_id == cart.product_id:
        chosen = choice.same_product(runtime.catalog, cart, balances, request.seats, prices.offer.prices)
    else:
        present_prices = _price_list_if_sold(runtime, runtime.catalog.products[cart.product_id], now)
        present_offer = None if present_prices is None else present_prices.offer.product
        refuse_if_not_for_sale(product, prices.offer, present_offer)
        chosen = choice.other_product(
            runtime.catalog,
            cart,
            product.product_id,
            balances,
            request.seats,
            prices=prices.offer.prices,
            sold=prices.offer.addons,
        )
    return Estimate(
        product=product,
        prices=prices,
        cart=chosen.after,
        present=cart,
        seats=_seats(runtime, cart, chosen.after),
        lines=tuple(_lines(runtime.catalog, prices, chosen.after)),
        price=prices.price_of(chosen.after),
        present_price=None if present_prices is None else present_prices.price_of(cart),
        present_prices=present_prices,
        subscription_id=subscription_id,
        verified_at=verified_at,
    )


def estimate_for_product(runtime: Runtime, product_id: str, seats: Mapping[str, int]) -> Estimate:
    """Estimate the price of a first purchase of the product with these total seats per type; of types not
    named, the minimum. Raises like `estimate_for_account`.
    """
    product = known_product(runtime.catalog, product_id)
    with runtime.sessions() as session:
        now = account.now(session)
    prices = _price_list(runtime, product, now)
    refuse_if_not_for_sale(product, prices.offer, None)
    cart = new_cart(runtime.catalog, product_id, seats, prices.offer.prices)
    return Estimate(
        product=product,
        prices=prices,
        cart=cart,
        present=None,
        seats=_seats(runtime, None, cart),
        lines=tuple(_lines(runtime.catalog, prices, cart)),
        price=prices.price_of(cart),
        present_price=None,
    )


def _seats(runtime: Runtime, before: Cart | None, after: Cart) -> Mapping[str, SeatStep]:
    old = {} if before is None else cart_seats(runtime.catalog, before)
    new = cart_seats(runtime.catalog, after)
    return {
        name: SeatStep(old.get(name, NO_SEATS).purchased, new.get(name, NO_SEATS).purchased)
        for name in {**new, **old}
        if old.get(name, NO_SEATS).purchased or new.get(name, NO_SEATS).purchased
    }


def _lines(catalog: Catalog, prices: PriceList, cart: Cart) -> Iterator[PriceLine]:
    product, unit_prices = catalog.products[cart.product_id], prices.offer.prices
    bare = cart_seats(catalog, Cart(cart.product_id, cart.quantity))
    price = unit_prices.get(product.product_id)
    yield PriceLine(
        kind=LineKind.PRODUCT,
        item_id=product.product_id,
        name=prices.offer.product.name,
        quantity=cart.quantity,
        unit_price=prices.money(price),
        amount=prices.money(None if price is None else price * cart.quantity),
        seats={name: one.purchased for name, one in bare.items() if one.purchased},
    )
    for units in cart.addons:
        sold, price = prices.offer.addons.get(units.addon_id), unit_prices.get(units.addon_id)
        yield PriceLine(
            kind=LineKind.ADDON,
            item_id=units.addon_id,
            name=None if sold is None else sold.name,
            quantity=units.quantity,
            unit_price=prices.money(price),
            amount=prices.money(None if price is None else price * units.quantity),
            seats={name: size * units.quantity for name, size in product.addons[units.addon_id].items()},
        )


# The cached price lists.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A cached price list. `failed_at`: when it could last not be read anew."""

    offer: Offer
    read_at: datetime
    failed_at: datetime | None = None

    def is_fresh(self, now: datetime) -> bool:
        has_just_failed = self.failed_at is not None and now - self.failed_at < _NO_READ_AFTER_FAILURE
        return has_just_failed or now - self.read_at < FRESH_FOR


_KEPT: Final = TypeAdapter(_Kept)


def _price_list(runtime: Runtime, product: Product, now: datetime) -> PriceList:
    """The cached price list, or a new one if it is not fresh. An older one is used while the provider cannot
    be reached; within 30 seconds after a failure no call waits for the provider.
    """
    kept = _kept(runtime, product.product_id, now)
    if kept is None or not kept.is_fresh(now):
        try:
            kept = _Kept(offer=offer_of(runtime.provider, product), read_at=now)
        except TransientError:
            if kept is None:
                raise
            kept = replace(kept, failed_at=now)
        runtime.cache.keep_price_list(product.product_id, orjson.dumps(asdict(kept)))
    return PriceList(offer=kept.offer, read_at=kept.read_at, age=now - kept.read_at)


def _price_list_if_sold(runtime: Runtime, product: Product, now: datetime) -> PriceList | None:
    try:
        return _price_list(runtime, product, now)
    except ProductNotSold:
        return None


def _kept(runtime: Runtime, product_id: str, now: datetime) -> _Kept | None:
    """The cached price list; None if there is none, or none that this release can read."""
    stored = runtime.cache.price_list_of(product_id)
    if stored is None:
        return None
    try:
        kept = _KEPT.validate_json(stored)
    except ValidationError:
        return None
    return kept if kept.read_at <= now and kept.offer.product.product_id == product_id else None
