"""Choices: which cart a subscription gets for requested seats, on its own product or on another one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from domain.balance import EMPTY, Balance
from domain.cart import Cart
from domain.catalog.model import Catalog, Product
from domain.counts import NO_SEATS, Seats, cart_seats
from domain.errors import BelowMinimum, NothingToChange, NoWayToBuy
from domain.purchase.carts import known_product, minimum_of_others, with_seats
from domain.purchase.steps import SeatStep, Steps
from domain.seat_limit import SeatLimit, Unlimited, add
from domain.snapshot import AddonQuantity

_ONE: Final = 1  # the lowest product quantity at the provider
_NO_NUMBERS: Final[Mapping[str, int]] = MappingProxyType({})

Balances = Mapping[str, Balance]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The cart before and after a change, and the account's purchased seats before and after it, of the types
    in which the carts differ.

    A change to another product may lose seat types that the new one does not sell, and drop add-ons without
    seats that are not sold with it.
    """

    before: Cart
    after: Cart
    steps: Steps
    lost_seat_types: Sequence[str] = ()
    dropped_addons: Sequence[str] = ()

    @property
    def is_other_product(self) -> bool:
        return self.before.product_id != self.after.product_id


def same_product(
    catalog: Catalog,
    cart: Cart,
    balances: Balances,
    totals: Mapping[str, int],
    prices: Mapping[str, int] | None,
    *,
    at_most: Mapping[str, int] = _NO_NUMBERS,
) -> Choice:
    """The cheapest cart of the same product with which the account has these totals of purchased seats.

    `prices` and `at_most` as in `with_seats`, but `at_most` for the account. Raises what `with_seats` raises,
    and `NothingToChange` if the account has unlimited seats of a type.
    """
    known_here = cart_seats(catalog, cart)
    wanted = _own_seats(known_here, balances, totals)
    most = _own_seats(known_here, balances, at_most)
    after = with_seats(catalog, cart, wanted, prices, at_most=most)
    return Choice(before=cart, after=after, steps=_steps(catalog, cart, after, balances))


def other_product(
    catalog: Catalog,
    cart: Cart,
    product_id: str,
    balances: Balances,
    totals: Mapping[str, int],
    *,
    prices: Mapping[str, int] | None,
    sold: Collection[str],
) -> Choice:
    """The cheapest cart of another product. Seat types not named in `totals` keep their number: at least what
    the new product includes. Add-ons without seats stay, if they are among those now `sold` with it.

    Raises `ProductNotFound`, what `with_seats` raises, and `NoWayToBuy` if the present product gives
    unlimited seats of a type of which no total is named.
    """
    product = known_product(catalog, product_id)
    present = cart_seats(catalog, cart)
    kept, dropped = _other_addons(catalog.products[cart.product_id], cart, product, sold)
    blank = Cart(product_id, _ONE, kept)
    given = cart_seats(catalog, blank)
    wanted = _carried_over(product, present, given, leave_out=totals)
    lost = [t for t in present if t not in product.seat_types and present[t].purchased != 0]
    for seat_type, number in _own_seats(present, balances, totals).items():
        if seat_type in product.seat_types or number > 0:
            wanted[seat_type] = number
    needed = minimum_of_others(product, given)
    after = with_seats(catalog, blank, {**needed, **wanted}, prices)
    return Choice(
        before=cart,
        after=after,
        steps=_steps(catalog, cart, after, balances),
        lost_seat_types=lost,
        dropped_addons=dropped,
    )


def _other_addons(
    old: Product, cart: Cart, new: Product, sold: Collection[str]
) -> tuple[tuple[AddonQuantity, ...], list[str]]:
    """The add-ons to keep, and those without seats to drop. Seats are carried over by their number, so
    add-ons that give seats of one type are bought anew, as packs or single seats of the new product.
    """
    kept: list[AddonQuantity] = []
    dropped: list[str] = []
    for addon in cart.addons:
        sizes = [size for size in old.addons[addon.addon_id].values() if size]
        if addon.addon_id in new.addons and addon.addon_id in sold and len(sizes) != 1:
            kept.append(addon)
        elif not sizes:
            dropped.append(addon.addon_id)
    return tuple(kept), dropped


def _carried_over(
    product: Product,
    present: Mapping[str, Seats],
    given: Mapping[str, Seats],
    *,
    leave_out: Collection[str],
) -> dict[str, int]:
    """The seats that the new product must give, of the types that it sells: as many as the present cart."""
    wanted = {}
    for seat_type, seats in present.items():
        new = given.get(seat_type, NO_SEATS).purchased
        if seat_type in leave_out or seat_type not in product.seat_types or isinstance(new, Unlimited):
            continue
        if isinstance(seats.purchased, Unlimited):
            raise NoWayToBuy(
                f"The present product gives unlimited {seat_type} seats, and {product.name} does not. "
                f'Send the total that the account should have, such as "seats": {{"{seat_type}": 25}}.',
                details={"seat_type": seat_type},
            )
        if seats.purchased:
            wanted[seat_type] = max(seats.purchased, new)
    return wanted


def _own_seats(
    present: Mapping[str, Seats], balances: Balances, totals: Mapping[str, int]
) -> Mapping[str, int]:
    """The seats that the subscription must give for the account to have these totals."""
    wanted = {}
    for name, total in totals.items():
        elsewhere = _from_elsewhere(balances.get(name, EMPTY), present.get(name, NO_SEATS).purchased)
        if isinstance(elsewhere, Unlimited):
            raise NothingToChange(f"The account has unlimited {name} seats.", details={"seat_type": name})
        if total < elsewhere:
            raise BelowMinimum(
                f"{elsewhere} {name} seats come from contracts or other subscriptions, so a change of "
                f"this subscription cannot bring the account down to {total}.",
                details={"seat_type": name, "from_elsewhere": elsewhere},
            )
        wanted[name] = total - elsewhere
    return wanted


def _from_elsewhere(balance: Balance, own: SeatLimit) -> SeatLimit:
    """The account's seats that do not come from this subscription. Beside unlimited ones, only those of
    contracts can be told apart, so it may be more.
    """
    if isinstance(own, Unlimited):
        return balance.seats.contract
    if isinstance(balance.purchased, Unlimited):
        return balance.purchased
    return balance.purchased - own


def _steps(catalog: Catalog, before: Cart, after: Cart, balances: Balances) -> Steps:
    seats_before, seats_after = cart_seats(catalog, before), cart_seats(catalog, after)
    steps = {}
    for name in sorted({*seats_before, *seats_after}):
        old = seats_before.get(name, NO_SEATS).purchased
        new = seats_after.get(name, NO_SEATS).purchased
        balance = balances.get(name)
        total = old if balance is None else balance.purchased
        step = SeatStep(total, add(_from_elsewhere(balance or EMPTY, old), new))
        if old != new and step.before != step.after:
            steps[name] = step
    return steps
